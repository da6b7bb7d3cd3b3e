//! The stack in its three forms, its fused form, and its expansion.

use super::config::{Activation, Form, ShallowConfig};
use burn::module::{Initializer, Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation};
use menagerie_core::{Error, Result};
use menagerie_nn::conv::{Padding, block_sum, conv2d, conv2d_relu, conv2d_relu_sum};

/// A convolution of stride 1 whose result has the size of its input; of the padding of even kernels
/// the larger half lies below and to the right.
#[derive(Module, Debug)]
pub struct SameConv {
    /// `[out, in, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
}

impl SameConv {
    /// Glorot's uniform weights, no bias.
    fn new(inputs: usize, outputs: usize, kernel: usize, device: &Device) -> Self {
        let taps = kernel * kernel;
        let weight = Initializer::XavierUniform { gain: 1.0 }.init_with(
            [outputs, inputs, kernel, kernel],
            Some(inputs * taps),
            Some(outputs * taps),
            device,
        );
        Self {
            weight,
            bias: Initializer::Zeros.init([outputs], device),
        }
    }

    fn padding(&self) -> Padding {
        let kernel = self.weight.lazy_shape().dims::<4>()[2];
        let before = (kernel - 1) / 2;
        Padding {
            before: [before; 2],
            after: [kernel - 1 - before; 2],
        }
    }

    /// `[batch, out, height, width]` of `[batch, in, height, width]`.
    ///
    /// # Panics
    /// If there are other channels.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = Some(self.bias.val());
        conv2d(x, self.weight.val(), bias, [1, 1], self.padding())
    }

    /// The same without bias.
    fn linear(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.val(), None, [1, 1], self.padding())
    }

    /// F: the convolution and what follows it.
    fn activated(&self, kind: Activation, x: Tensor<4>) -> Tensor<4> {
        match kind {
            Activation::Relu => {
                let bias = Some(self.bias.val());
                conv2d_relu(x, self.weight.val(), bias, [1, 1], self.padding())
            }
            _ => activate(kind, self.forward(x)),
        }
    }
}

/// `Σ F_l(h)` by one convolution with all filters; F ends with the activation, so that it comes
/// before the sum.
fn side_by_side(
    kind: Activation,
    h: Tensor<4>,
    (weight, bias): (Tensor<4>, Tensor<1>),
    padding: Padding,
    layers: usize,
) -> Tensor<4> {
    match kind {
        Activation::Relu => conv2d_relu_sum(h, weight, Some(bias), [1, 1], padding, layers),
        _ => {
            let terms = conv2d(h, weight, Some(bias), [1, 1], padding);
            block_sum(activate(kind, terms), layers)
        }
    }
}

fn activate(kind: Activation, x: Tensor<4>) -> Tensor<4> {
    match kind {
        Activation::Relu => activation::relu(x),
        Activation::Sigmoid => activation::sigmoid(x),
        Activation::Tanh => activation::tanh(x),
        Activation::Identity => x,
    }
}

/// A stem, a stack of convolutions, and a classifier. The forms of a stack have the same parameters.
#[derive(Module, Debug)]
pub struct ResidualStack {
    /// From the image's channels to the stack's, without activation.
    pub stem: SameConv,
    /// The layers.
    pub layers: Vec<SameConv>,
    /// From all pixels of all channels to the classes.
    pub classifier: Linear,
    #[module(skip)]
    config: ShallowConfig,
}

impl ShallowConfig {
    /// Refuses images of another shape, or none.
    fn check(&self, images: &Tensor<4>) -> Result<()> {
        let [batch, channels, height, width] = images.dims();
        let (expected, image) = (self.channels, self.image);
        if batch == 0 || [channels, height, width] != [expected, image, image] {
            let rule =
                format!("must be [batch, {expected}, {image}, {image}] with at least one image");
            return Err(Error::input("images", images.dims(), rule));
        }
        Ok(())
    }

    /// A stack of Glorot's uniform weights without biases.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<ResidualStack> {
        self.validate()?;
        let (c, k) = (self.filters, self.kernel);
        let classifier = LinearConfig::new(c * self.image * self.image, self.classes)
            .with_initializer(Initializer::XavierUniform { gain: 1.0 });
        let mut classifier = classifier.init(device);
        classifier.bias = Some(Initializer::Zeros.init([self.classes], device));
        Ok(ResidualStack {
            stem: SameConv::new(self.channels, c, k, device),
            layers: (0..self.layers)
                .map(|_| SameConv::new(c, c, k, device))
                .collect(),
            classifier,
            config: self.clone(),
        })
    }
}

impl ResidualStack {
    /// What the stack was built from.
    pub fn config(&self) -> &ShallowConfig {
        &self.config
    }

    /// The same weights in another form.
    #[must_use]
    pub fn to_form(&self, form: Form) -> Self {
        let mut other = self.clone();
        other.config.form = form;
        other
    }

    /// All layers beside each other, with the same weights.
    #[must_use]
    pub fn to_parallel(&self) -> Self {
        self.to_form(Form::Parallel)
    }

    /// All layers one after the other, with the same weights.
    #[must_use]
    pub fn to_sequential(&self) -> Self {
        self.to_form(Form::Sequential)
    }

    /// The same weights one after the other without identity.
    #[must_use]
    pub fn to_plain(&self) -> Self {
        self.to_form(Form::Plain)
    }

    /// Weights `[L · c, c, k, k]` and biases `[L · c]` of all layers.
    fn wide(&self) -> (Tensor<4>, Tensor<1>) {
        let weights = self.layers.iter().map(|layer| layer.weight.val());
        let biases = self.layers.iter().map(|layer| layer.bias.val());
        (
            Tensor::cat(weights.collect(), 0),
            Tensor::cat(biases.collect(), 0),
        )
    }

    fn stacked(&self, h: Tensor<4>, form: Form) -> Tensor<4> {
        let kind = self.config.activation;
        let layers = self.layers.iter();
        match form {
            Form::Sequential => layers.fold(h, |h, layer| h.clone() + layer.activated(kind, h)),
            Form::Plain => layers.fold(h, |h, layer| layer.activated(kind, h)),
            Form::Parallel => {
                let (wide, padding) = (self.wide(), self.stem.padding());
                h.clone() + side_by_side(kind, h, wide, padding, self.layers.len())
            }
        }
    }

    /// The result of the stem, `[batch, c, H, H]`, of images `[batch, channels, H, H]`.
    ///
    /// # Errors
    /// [`Error::Input`] for images of another shape.
    pub fn stem(&self, images: Tensor<4>) -> Result<Tensor<4>> {
        self.config.check(&images)?;
        Ok(self.stem.forward(images))
    }

    /// The result of the stack, `[batch, c, H, H]`.
    ///
    /// # Errors
    /// As [`stem`](Self::stem).
    pub fn features(&self, images: Tensor<4>) -> Result<Tensor<4>> {
        Ok(self.stacked(self.stem(images)?, self.config.form))
    }

    /// Scores of the classes, `[batch, classes]`.
    ///
    /// # Errors
    /// As [`stem`](Self::stem).
    pub fn forward(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        let features = self.features(images)?;
        Ok(self.classifier.forward(features.flatten::<2>(1, 3)))
    }

    /// [`forward`](Self::forward) of images that fit.
    pub(crate) fn forward_unchecked(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.stacked(self.stem.forward(images), self.config.form);
        self.classifier.forward(features.flatten::<2>(1, 3))
    }

    /// What the truncation leaves out, for every image: `‖seq − par‖ / ‖seq − h₀‖`, `[batch]`; 0 where
    /// no layer adds anything.
    ///
    /// # Errors
    /// As [`stem`](Self::stem).
    pub fn expansion_gap(&self, images: Tensor<4>) -> Result<Tensor<1>> {
        let h = self.stem(images)?;
        let deep = self.stacked(h.clone(), Form::Sequential);
        let wide = self.stacked(h.clone(), Form::Parallel);
        let norm = |x: Tensor<4>| {
            let squares = x.flatten::<2>(1, 3).square().sum_dim(1);
            squares.sqrt().squeeze_dim::<1>(1)
        };
        // A stack whose layers are all silent leaves nothing out: 0, not 0 / 0.
        Ok(norm(deep.clone() - wide) / norm(deep - h).clamp_min(f64::from(f32::MIN_POSITIVE)))
    }

    /// The terms of every order of the product `Π (I + F_l)` on the result of the stem, for the layers
    /// without biases and activations: `L + 1` maps `[batch, c, H, H]`, of which the one of order o
    /// sums the `C(L, o)` products of o layers. All of them make up the sequential form, the first two
    /// the parallel one.
    ///
    /// # Errors
    /// As [`stem`](Self::stem).
    pub fn orders(&self, images: Tensor<4>) -> Result<Vec<Tensor<4>>> {
        let h = self.stem(images)?;
        let mut orders = vec![h];
        for layer in &self.layers {
            // Each order gains the next layer's image of the order below.
            let raised: Vec<Tensor<4>> = orders
                .iter()
                .map(|order| layer.linear(order.clone()))
                .collect();
            for (at, term) in raised.into_iter().enumerate() {
                match orders.get_mut(at + 1) {
                    Some(order) => *order = order.clone() + term,
                    None => orders.push(term),
                }
            }
        }
        Ok(orders)
    }

    /// The parallel form for use: its filters joined once, to one convolution in place of L. They are
    /// parameters of their own: gradients do not reach this stack's layers.
    pub fn fused_parallel(&self) -> FusedStack {
        let (weight, bias) = self.wide();
        FusedStack {
            stem: self.stem.clone(),
            wide: SameConv {
                weight: Param::from_tensor(weight.detach()),
                bias: Param::from_tensor(bias.detach()),
            },
            classifier: self.classifier.clone(),
            config: self.to_parallel().config,
        }
    }
}

/// The parallel form as one convolution of L · c filters, the activation, and the sum of its L blocks
/// of channels.
#[derive(Module, Debug)]
pub struct FusedStack {
    /// From the image's channels to the stack's.
    pub stem: SameConv,
    /// `[L · c, c, k, k]`.
    pub wide: SameConv,
    /// From all pixels of all channels to the classes.
    pub classifier: Linear,
    #[module(skip)]
    config: ShallowConfig,
}

impl FusedStack {
    /// The result of the stack, `[batch, c, H, H]`, of images `[batch, channels, H, H]`.
    ///
    /// # Errors
    /// [`Error::Input`] for images of another shape.
    pub fn features(&self, images: Tensor<4>) -> Result<Tensor<4>> {
        self.config.check(&images)?;
        let h = self.stem.forward(images);
        let wide = (self.wide.weight.val(), self.wide.bias.val());
        let ShallowConfig {
            activation, layers, ..
        } = self.config;
        let terms = side_by_side(activation, h.clone(), wide, self.wide.padding(), layers);
        Ok(h + terms)
    }

    /// Scores of the classes, `[batch, classes]`.
    ///
    /// # Errors
    /// As [`features`](Self::features).
    pub fn forward(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        let features = self.features(images)?;
        Ok(self.classifier.forward(features.flatten::<2>(1, 3)))
    }
}
