//! The small networks: LeNet and perceptrons.

use super::config::{LeNetConfig, MlpConfig};
use super::layer::{ConvSizes, Factors, LodConv, LodLinear};
use super::network::{Factored, Network, Ranks};
use super::norm::Mode;
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use menagerie_core::{Error, Result};

/// LeNet for images of 28².
#[derive(Module, Debug)]
pub struct LeNet {
    /// 5×5, then the largest of 2×2.
    pub conv1: LodConv,
    /// 5×5, then the largest of 2×2.
    pub conv2: LodConv,
    /// The first hidden layer.
    pub fc1: LodLinear,
    /// The second.
    pub fc2: LodLinear,
    /// To class scores.
    pub fc3: LodLinear,
    #[module(skip)]
    config: LeNetConfig,
}

/// Side of the images.
const SIDE: usize = 28;
/// Side of a kernel.
const KERNEL: usize = 5;
/// Sides of the results of the two convolutions.
const SIDES: [usize; 2] = [24, 8];

impl LeNetConfig {
    /// A dense network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<LeNet> {
        self.validate()?;
        let [first, second] = self.filters;
        let conv = |inputs: usize, outputs: usize| {
            LodConv::new(ConvSizes::new(inputs, outputs, KERNEL), device)
        };
        let linear = |inputs, outputs| LodLinear::new(inputs, outputs, true, device);
        let pooled = SIDES[1] / 2;
        Ok(LeNet {
            conv1: conv(self.channels, first)?,
            conv2: conv(first, second)?,
            fc1: linear(second * pooled * pooled, self.hidden[0]),
            fc2: linear(self.hidden[0], self.hidden[1]),
            fc3: linear(self.hidden[1], self.classes),
            config: self.clone(),
        })
    }
}

impl LeNet {
    /// What the network was built from.
    pub fn config(&self) -> &LeNetConfig {
        &self.config
    }
}

/// The largest of every 2×2 pixels of what is above 0.
pub(super) fn halve(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let (rows, columns) = (height / 2, width / 2);
    activation::relu(x)
        .reshape([batch, channels, rows, 2, columns, 2])
        .max_dim(5)
        .max_dim(3)
        .reshape([batch, channels, rows, columns])
}

/// Refuses images of another shape than `[batch, channels, side, side]`.
pub(super) fn check(images: &Tensor<4>, channels: usize, side: usize) -> Result<()> {
    let found = images.dims();
    let [batch, rest @ ..] = found;
    if batch > 0 && rest == [channels, side, side] {
        return Ok(());
    }
    let rule = format!("must be [batch, {channels}, {side}, {side}] with at least one image");
    Err(Error::input("images", found, rule))
}

impl Network for LeNet {
    fn run(&self, images: Tensor<4>, ranks: &Ranks, _: Mode) -> Result<Tensor<2>> {
        check(&images, self.config.channels, SIDE)?;
        let x = halve(self.conv1.forward(images, ranks.of(0)));
        let x = halve(self.conv2.forward(x, ranks.of(1)));
        let x: Tensor<2> = x.flatten(1, 3);
        let x = activation::relu(self.fc1.forward(x, ranks.of(2)));
        let x = activation::relu(self.fc2.forward(x, ranks.of(3)));
        Ok(self.fc3.forward(x, ranks.of(4)))
    }

    fn applications(&self) -> Vec<usize> {
        let [first, second] = SIDES.map(|side| side * side);
        vec![first, second, 1, 1, 1]
    }
}

impl Factored for LeNet {
    fn layers(&self) -> Vec<(String, &Factors)> {
        vec![
            ("conv1".into(), &self.conv1.factors),
            ("conv2".into(), &self.conv2.factors),
            ("fc1".into(), &self.fc1.factors),
            ("fc2".into(), &self.fc2.factors),
            ("fc3".into(), &self.fc3.factors),
        ]
    }

    fn layers_mut(&mut self) -> Vec<&mut Factors> {
        vec![
            &mut self.conv1.factors,
            &mut self.conv2.factors,
            &mut self.fc1.factors,
            &mut self.fc2.factors,
            &mut self.fc3.factors,
        ]
    }
}

/// Linear layers with ReLU between them.
#[derive(Module, Debug)]
pub struct Mlp {
    /// The layers, from input to output.
    pub linears: Vec<LodLinear>,
    #[module(skip)]
    config: MlpConfig,
}

impl MlpConfig {
    /// A dense network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Mlp> {
        self.validate()?;
        let linears = self.widths.windows(2);
        let linears = linears.map(|pair| LodLinear::new(pair[0], pair[1], self.bias, device));
        Ok(Mlp {
            linears: linears.collect(),
            config: self.clone(),
        })
    }
}

impl Mlp {
    /// What the network was built from.
    pub fn config(&self) -> &MlpConfig {
        &self.config
    }

    /// Rows `[batch, inputs]` to `[batch, outputs]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the rows are of another length.
    pub fn forward_rows(&self, rows: Tensor<2>, ranks: &Ranks) -> Result<Tensor<2>> {
        let inputs = self.config.widths.first().copied().unwrap_or_default();
        let [batch, found] = rows.dims();
        if batch == 0 || found != inputs {
            let rule = format!("must be [batch, {inputs}] with at least one row");
            return Err(Error::input("rows", [batch, found], rule));
        }
        let last = self.linears.len() - 1;
        Ok(self
            .linears
            .iter()
            .enumerate()
            .fold(rows, |x, (at, layer)| {
                let x = layer.forward(x, ranks.of(at));
                if at < last { activation::relu(x) } else { x }
            }))
    }
}

impl Network for Mlp {
    fn run(&self, images: Tensor<4>, ranks: &Ranks, _: Mode) -> Result<Tensor<2>> {
        self.forward_rows(images.flatten(1, 3), ranks)
    }

    fn applications(&self) -> Vec<usize> {
        vec![1; self.linears.len()]
    }
}

impl Factored for Mlp {
    fn layers(&self) -> Vec<(String, &Factors)> {
        let layers = self.linears.iter().enumerate();
        layers
            .map(|(at, layer)| (format!("fc{}", at + 1), &layer.factors))
            .collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Factors> {
        let layers = self.linears.iter_mut();
        layers.map(|layer| &mut layer.factors).collect()
    }
}
