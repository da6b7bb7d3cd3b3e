//! Stacks of convolutions, the paper's grid of them, and how they are trained.

use burn::config::Config;
use menagerie_core::{Error, Result};

/// How the layers of a stack are put together.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Form {
    /// `h ← h + F(h)`, layer after layer.
    Sequential,
    /// `h₀ + Σ F(h₀)`: all layers on the same input, the expansion up to its first order.
    Parallel,
    /// `h ← F(h)`, without the identity.
    Plain,
}

/// What follows a convolution inside of `F`.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e^{-x})`.
    Sigmoid,
    /// `tanh x`.
    Tanh,
    /// Nothing: the stack is linear.
    Identity,
}

/// A convolution to `filters` channels, a stack of convolutions of that width, and a linear classifier
/// of all pixels.
#[derive(Config, Debug, PartialEq)]
pub struct ShallowConfig {
    /// Channels of the images.
    pub channels: usize,
    /// Side of the images, H.
    pub image: usize,
    /// Layers of the stack, L.
    pub layers: usize,
    /// Channels inside of the stack, c.
    pub filters: usize,
    /// Side of the kernels, k.
    #[config(default = 3)]
    pub kernel: usize,
    /// Step of the convolutions; 1, or the identity would not fit.
    #[config(default = 1)]
    pub stride: usize,
    /// How the layers are put together.
    #[config(default = "Form::Sequential")]
    pub form: Form,
    /// What follows a convolution.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
    /// Classes.
    #[config(default = 10)]
    pub classes: usize,
}

/// Values of layers, filters and kernel sides of the paper's grid, as far as 6 912 combinations tell.
pub const GRID: [usize; 6] = [1, 2, 4, 8, 16, 32];

impl ShallowConfig {
    const NAME: &str = "ShallowConfig";

    /// A stack for digits of 28².
    pub fn mnist(layers: usize, filters: usize, kernel: usize) -> Self {
        Self::new(1, 28, layers, filters).with_kernel(kernel)
    }

    /// A stack for colour images of 32².
    pub fn cifar10(layers: usize, filters: usize, kernel: usize) -> Self {
        Self::new(3, 32, layers, filters).with_kernel(kernel)
    }

    /// All 216 combinations of [`GRID`] with this one's other settings.
    pub fn grid(&self) -> Vec<Self> {
        let mut all = Vec::with_capacity(GRID.len().pow(3));
        for layers in GRID {
            for filters in GRID {
                for kernel in GRID {
                    all.push(Self {
                        layers,
                        filters,
                        kernel,
                        ..self.clone()
                    });
                }
            }
        }
        all
    }

    /// The number of parameters, the same for every form:
    /// `c (c_in k² + 1) + L c (c k² + 1) + classes (c H² + 1)`.
    pub fn parameters(&self) -> usize {
        let (c, taps) = (self.filters, self.kernel * self.kernel);
        c * (self.channels * taps + 1)
            + self.layers * c * (c * taps + 1)
            + self.classes * (c * self.image * self.image + 1)
    }

    /// Refuses sizes of 0 and a stride that is not 1.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("channels", self.channels),
            ("image", self.image),
            ("layers", self.layers),
            ("filters", self.filters),
            ("kernel", self.kernel),
            ("classes", self.classes),
        ];
        if let Some((field, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(Error::config(Self::NAME, *field, 0, "must be at least 1"));
        }
        if self.stride != 1 {
            let rule = "must be 1: the identity needs maps of one size";
            return Err(Error::config(Self::NAME, "stride", self.stride, rule));
        }
        Ok(())
    }
}

/// What is made small.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum Objective {
    /// The cross-entropy.
    CrossEntropy,
    /// The mean squared error of the probabilities.
    SquaredError,
}

/// RMSprop at a constant rate.
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// Learning rate.
    #[config(default = 5e-4)]
    pub rate: f64,
    /// Images in a batch.
    #[config(default = 64)]
    pub batch: usize,
    /// Passes over the training images.
    #[config(default = 15)]
    pub epochs: usize,
    /// What is made small.
    #[config(default = "Objective::CrossEntropy")]
    pub objective: Objective,
}

impl TrainingConfig {
    const NAME: &str = "TrainingConfig";

    /// 100 epochs, as the authors are recalled to have trained.
    pub fn published() -> Self {
        Self::new().with_epochs(100)
    }

    /// Refuses a rate that is not above 0, and sizes of 0.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        if !(self.rate.is_finite() && self.rate > 0.0) {
            let rule = "must be finite and above 0";
            return Err(Error::config(Self::NAME, "rate", self.rate, rule));
        }
        for (field, size) in [("batch", self.batch), ("epochs", self.epochs)] {
            if size == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        Ok(())
    }
}
