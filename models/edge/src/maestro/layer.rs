//! Layers that are products of two factors (section 3.1 of the paper).

use super::svd::svd;
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Int, Tensor, TensorData, module as functional};
use menagerie_core::{Error, Result};
use menagerie_nn::conv::{Padding, conv2d};
use menagerie_nn::transformer::linear_transposed;

/// Below it the square of a tail's norm counts as nothing, whose root would have no slope.
const FLOOR: f64 = 1e-24;

/// A map `[outputs, inputs]` as it is, or as `U Vᵀ`.
///
/// A convolution's kernel is the map `[outputs, channels · height · width]`.
#[derive(Module, Debug)]
pub struct Factors {
    /// The map itself, `[outputs, inputs]`; none where it is factored.
    pub weight: Option<Param<Tensor<2>>>,
    /// `Vᵀ`, `[rank, inputs]`.
    pub v: Option<Param<Tensor<2>>>,
    /// `U`, `[outputs, rank]`.
    pub u: Option<Param<Tensor<2>>>,
    /// `[outputs]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Which ranks are left, ascending; the others are masked.
    #[module(skip)]
    survivors: Vec<usize>,
}

impl Factors {
    /// A dense map drawn as PyTorch draws linear layers and convolutions: within `±1 / √inputs`.
    pub(crate) fn dense(outputs: usize, inputs: usize, bias: bool, device: &Device) -> Self {
        let initializer = Initializer::KaimingUniform {
            gain: 1.0 / 3.0_f64.sqrt(),
            fan_out_only: false,
        };
        let (fan_in, fan_out) = (Some(inputs), Some(outputs));
        Self {
            weight: Some(initializer.init_with([outputs, inputs], fan_in, fan_out, device)),
            v: None,
            u: None,
            bias: bias.then(|| initializer.init_with([outputs], fan_in, fan_out, device)),
            survivors: Vec::new(),
        }
    }

    /// A factored map with room for weights that are to be loaded: zeros.
    pub(crate) fn zeros(outputs: usize, inputs: usize, bias: bool, device: &Device) -> Self {
        let rank = outputs.min(inputs);
        Self {
            weight: None,
            v: Some(Initializer::Zeros.init([rank, inputs], device)),
            u: Some(Initializer::Zeros.init([outputs, rank], device)),
            bias: bias.then(|| Initializer::Zeros.init([outputs], device)),
            survivors: (0..rank).collect(),
        }
    }

    /// Outputs and inputs.
    pub fn dims(&self) -> [usize; 2] {
        match (&self.weight, &self.v, &self.u) {
            (Some(weight), ..) => weight.dims(),
            (None, Some(v), Some(u)) => [u.dims()[0], v.dims()[1]],
            _ => [0, 0],
        }
    }

    /// Ranks that are stored: 0 for a dense map.
    pub fn width(&self) -> usize {
        self.v.as_ref().map_or(0, |v| v.dims()[0])
    }

    /// Ranks that are left: 0 for a dense map.
    pub fn rank(&self) -> usize {
        self.survivors.len()
    }

    /// Whether it is a product of factors.
    pub fn is_factored(&self) -> bool {
        self.v.is_some()
    }

    /// Which ranks are left, ascending.
    pub fn survivors(&self) -> &[usize] {
        &self.survivors
    }

    /// Leaves those ranks alone.
    ///
    /// # Errors
    /// [`Error::Input`] if they are not ascending, or are not there.
    pub fn set_survivors(&mut self, survivors: Vec<usize>) -> Result<()> {
        let ascending = survivors.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || survivors.iter().any(|rank| *rank >= self.width()) {
            let rule = format!("must be ascending and below {}", self.width());
            return Err(Error::input("the ranks that are left", survivors, rule));
        }
        self.survivors = survivors;
        Ok(())
    }

    /// `U` and `Vᵀ` of the first `count` ranks that are left; none for a dense map, or without ranks.
    fn first(&self, count: usize) -> Option<(Tensor<2>, Tensor<2>)> {
        let (u, v) = (self.u.as_ref()?.val(), self.v.as_ref()?.val());
        let kept = &self.survivors[..count.min(self.survivors.len())];
        if kept.is_empty() {
            return None;
        }
        if kept.len() == self.width() {
            return Some((u, v));
        }
        // What is left is mostly a beginning.
        if kept.iter().enumerate().all(|(at, rank)| at == *rank) {
            return Some((u.narrow(1, 0, kept.len()), v.narrow(0, 0, kept.len())));
        }
        let device = u.device().without_autodiff();
        let kept: Vec<i64> = kept.iter().map(|rank| *rank as i64).collect();
        let kept =
            Tensor::<1, Int>::from_data(TensorData::new(kept.clone(), [kept.len()]), &device);
        let kept = if u.is_autodiff() {
            kept.autodiff()
        } else {
            kept
        };
        Some((u.select(1, kept.clone()), v.select(0, kept)))
    }

    /// The map of the first `count` ranks that are left, `[outputs, inputs]`.
    pub fn product(&self, count: usize) -> Tensor<2> {
        match (&self.weight, self.first(count)) {
            (Some(weight), _) => weight.val(),
            (None, Some((u, v))) => u.matmul(v),
            (None, None) => {
                let device = self.u.as_ref().map(|u| u.device()).unwrap_or_default();
                Tensor::zeros(self.dims(), &device)
            }
        }
    }

    /// The squared norms of the columns of `U` and of the rows of `Vᵀ`, all that are stored,
    /// `[width]` each.
    fn squares(&self) -> Option<[Tensor<1>; 2]> {
        let (u, v) = (self.u.as_ref()?.val(), self.v.as_ref()?.val());
        let width = self.width();
        let columns = u.square().sum_dim(0).reshape([width]);
        let rows = v.square().sum_dim(1).reshape([width]);
        Some([columns, rows])
    }

    /// The norms of the factors, `U`'s first, `[width]` each: of every rank alone, or, hierarchical,
    /// of every rank and those after it together. None for a dense map.
    pub fn norms(&self, hierarchical: bool) -> Option<[Tensor<1>; 2]> {
        let squares = self.squares()?;
        Some(squares.map(|squares| {
            let tails = match hierarchical {
                true => squares.flip([0]).cumsum(0).flip([0]),
                false => squares,
            };
            tails.clamp_min(FLOOR).sqrt()
        }))
    }

    /// Σ of all [`norms`](Self::norms), `[1]`: the group lasso of the layer.
    pub fn lasso(&self, hierarchical: bool) -> Option<Tensor<1>> {
        let [u, v] = self.norms(hierarchical)?;
        Some(u.sum() + v.sum())
    }

    /// The products of both [`norms`](Self::norms), of every rank that is stored; hierarchical ones
    /// fall. Empty for a dense map.
    ///
    /// # Errors
    /// If the factors cannot be read.
    pub fn importances(&self, hierarchical: bool) -> Result<Vec<f64>> {
        let Some([u, v]) = self.norms(hierarchical) else {
            return Ok(Vec::new());
        };
        (u * v)
            .try_into_vec_as::<f64>()
            .map_err(|error| Error::other("reading importances", error))
    }

    /// The ranks that are left whose importance is not below `threshold`. None for a dense map.
    ///
    /// # Errors
    /// If the factors cannot be read.
    pub(crate) fn above(&self, threshold: f64, hierarchical: bool) -> Result<Vec<usize>> {
        let importances = self.importances(hierarchical)?;
        let important = |rank: &usize| {
            importances
                .get(*rank)
                .is_some_and(|value| *value >= threshold)
        };
        Ok(self.survivors.iter().copied().filter(important).collect())
    }

    /// Whether it is factored and has no rank left, so that its bias alone is.
    pub fn is_bare(&self) -> bool {
        self.is_factored() && self.survivors.is_empty()
    }

    /// Factors of full rank in place of a dense map, each drawn as a dense map is; the bias stays.
    pub(crate) fn redraw(&mut self) {
        let Some(weight) = &self.weight else {
            return;
        };
        let (device, [outputs, inputs]) = (weight.device(), weight.dims());
        let rank = outputs.min(inputs);
        self.v = Self::dense(rank, inputs, false, &device).weight;
        self.u = Self::dense(outputs, rank, false, &device).weight;
        self.weight = None;
        self.survivors = (0..rank).collect();
    }

    /// The dense map as factors that multiply to it: `U = Û S^½`, `Vᵀ = S^½ V̂ᵀ`.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn decompose(&mut self) -> Result<()> {
        let Some(weight) = &self.weight else {
            return Ok(());
        };
        let (device, [outputs, inputs]) = (weight.device(), weight.dims());
        let values = weight
            .val()
            .without_autodiff()
            .try_into_vec_as::<f64>()
            .map_err(|error| Error::other("reading a map", error))?;
        let found = svd(&values, outputs, inputs);
        let (rank, root) = (found.rank, |at: usize| found.s[at].sqrt());
        let u: Vec<f32> = (0..outputs * rank)
            .map(|at| (found.u[at] * root(at % rank)) as f32)
            .collect();
        let v: Vec<f32> = (0..rank * inputs)
            .map(|at| (found.vt[at] * root(at / inputs)) as f32)
            .collect();
        let tensor = |values: Vec<f32>, shape: [usize; 2]| {
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        self.u = Some(tensor(u, [outputs, rank]));
        self.v = Some(tensor(v, [rank, inputs]));
        self.weight = None;
        self.survivors = (0..rank).collect();
        Ok(())
    }

    /// Whether the factors that are left take more numbers than the map: `(m + n) r > m n`.
    pub fn is_smaller_dense(&self) -> bool {
        let [outputs, inputs] = self.dims();
        self.is_factored() && (outputs + inputs) * self.rank() > outputs * inputs
    }

    /// Deletes what is masked and all but the first `count` ranks that are left, at least one, and
    /// multiplies the factors where that makes them smaller, if asked to. Where no rank is left, one
    /// of zeros stands for it, so that files have something to hold.
    pub(crate) fn extract(&mut self, count: usize, merge: bool) {
        let Some((u, v)) = self.first(count.max(1)).or_else(|| self.nothing()) else {
            return;
        };
        let rank = u.dims()[1];
        self.survivors = (0..rank).collect();
        // A part of a larger factor would hold on to all of it, and be copied at every use.
        let plain = |tensor: Tensor<2>| {
            let kind = (&tensor.device(), tensor.dtype());
            Param::from_tensor(Tensor::from_data(tensor.detach().into_data(), kind))
        };
        if merge && self.is_smaller_dense() {
            self.weight = Some(plain(u.matmul(v)));
            (self.u, self.v) = (None, None);
            self.survivors = Vec::new();
            return;
        }
        (self.u, self.v) = (Some(plain(u)), Some(plain(v)));
    }

    /// A rank of zeros, of a map that is factored.
    fn nothing(&self) -> Option<(Tensor<2>, Tensor<2>)> {
        let (device, [outputs, inputs]) = (self.u.as_ref()?.device(), self.dims());
        let zeros = |shape: [usize; 2]| Tensor::zeros(shape, &device);
        Some((zeros([outputs, 1]), zeros([1, inputs])))
    }

    /// Multiplies the factors of the first `count` ranks.
    pub(crate) fn multiply(&mut self, count: usize) {
        if self.is_factored() {
            self.weight = Some(Param::from_tensor(self.product(count).detach()));
            (self.u, self.v) = (None, None);
            self.survivors = Vec::new();
        }
    }

    /// Numbers that are stored for what is left.
    pub fn numbers(&self) -> usize {
        let [outputs, inputs] = self.dims();
        let map = match self.is_factored() {
            true => (outputs + inputs) * self.rank(),
            false => outputs * inputs,
        };
        map + self.bias.as_ref().map_or(0, |bias| bias.dims()[0])
    }

    /// Numbers that are stored with the first `count` ranks, at least one, as factors or as one map,
    /// whichever is smaller.
    pub fn numbers_at(&self, count: usize) -> usize {
        let [outputs, inputs] = self.dims();
        let bias = self.bias.as_ref().map_or(0, |bias| bias.dims()[0]);
        let map = match self.is_factored() {
            true => ((outputs + inputs) * count.min(self.rank()).max(1)).min(outputs * inputs),
            false => outputs * inputs,
        };
        map + bias
    }

    /// Multiplications for one input of the map with its first `count` ranks.
    pub fn products(&self, count: usize) -> usize {
        let [outputs, inputs] = self.dims();
        match self.is_factored() {
            true => (outputs + inputs) * count.min(self.rank()),
            false => outputs * inputs,
        }
    }
}

/// A linear layer.
#[derive(Module, Debug)]
pub struct LodLinear {
    /// The map and its bias.
    pub factors: Factors,
}

impl LodLinear {
    /// A dense layer to start from.
    pub fn new(inputs: usize, outputs: usize, bias: bool, device: &Device) -> Self {
        Self {
            factors: Factors::dense(outputs, inputs, bias, device),
        }
    }

    /// `[rows, inputs]` to `[rows, outputs]` by the first `rank` ranks that are left, all of them
    /// where there are fewer; without any the bias alone.
    ///
    /// # Panics
    /// If the last axis is not `inputs`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>, rank: usize) -> Tensor<D> {
        let bias = self.factors.bias.as_ref().map(Param::val);
        if let Some(weight) = &self.factors.weight {
            return linear_transposed(x, weight.val(), bias);
        }
        match self.factors.first(rank) {
            Some((u, v)) => linear_transposed(linear_transposed(x, v, None), u, bias),
            _ => {
                let mut dims = x.dims();
                dims[D - 1] = self.factors.dims()[0];
                let zeros = Tensor::zeros(dims, &x.device());
                match bias {
                    None => zeros,
                    Some(bias) => zeros + bias.unsqueeze(),
                }
            }
        }
    }
}

/// A convolution: `rank` filters of the kernel's size, then a map of each pixel's results.
#[derive(Module, Debug)]
pub struct LodConv {
    /// The map `[outputs, channels · height · width]` and its bias.
    pub factors: Factors,
    #[module(skip)]
    sizes: ConvSizes,
}

/// The sizes of a [`LodConv`].
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub struct ConvSizes {
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Pixels from one output to the next.
    #[config(default = 1)]
    pub stride: usize,
    /// Zeros on each side.
    #[config(default = 0)]
    pub padding: usize,
    /// Pixels from one of the kernel's taps to the next.
    #[config(default = 1)]
    pub dilation: usize,
    /// Groups of channels that do not see each other: 1, or there would not be one map to factor.
    #[config(default = 1)]
    pub groups: usize,
    /// Whether there is a bias.
    #[config(default = true)]
    pub bias: bool,
}

impl ConvSizes {
    const NAME: &str = "ConvSizes";

    /// Refuses sizes of 0, and groups.
    ///
    /// # Errors
    /// [`Error::Config`] with the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        for (field, size) in [
            ("inputs", self.inputs),
            ("outputs", self.outputs),
            ("kernel", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ] {
            if size == 0 {
                return Err(Error::config(Self::NAME, field, 0, "must be at least 1"));
            }
        }
        if self.groups != 1 {
            let rule = "must be 1: groups of channels have no map in common to factor";
            return Err(Error::config(Self::NAME, "groups", self.groups, rule));
        }
        Ok(())
    }

    /// Inputs of the map: channels times taps.
    fn fan_in(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// Side of the result of an image of side `side`.
    ///
    /// # Panics
    /// If the kernel is larger than the image with its border.
    pub fn convolved(&self, side: usize) -> usize {
        (side + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) / self.stride + 1
    }
}

impl LodConv {
    /// A dense convolution to start from.
    ///
    /// # Errors
    /// What [`ConvSizes::validate`] reports.
    pub fn new(sizes: ConvSizes, device: &Device) -> Result<Self> {
        sizes.validate()?;
        let factors = Factors::dense(sizes.outputs, sizes.fan_in(), sizes.bias, device);
        Ok(Self { factors, sizes })
    }

    /// A factored convolution to load weights into.
    ///
    /// # Errors
    /// What [`ConvSizes::validate`] reports.
    pub fn zeros(sizes: ConvSizes, device: &Device) -> Result<Self> {
        sizes.validate()?;
        let factors = Factors::zeros(sizes.outputs, sizes.fan_in(), sizes.bias, device);
        Ok(Self { factors, sizes })
    }

    /// The same with a kernel of normal numbers of variance `2 / (outputs · taps)`, as residual
    /// networks start.
    pub(crate) fn for_relu(mut self, device: &Device) -> Self {
        let fan_out = self.sizes.outputs * self.sizes.kernel * self.sizes.kernel;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: (2.0 / fan_out as f64).sqrt(),
        };
        self.factors.weight = Some(normal.init([self.sizes.outputs, self.sizes.fan_in()], device));
        self
    }

    /// What the layer was built from.
    pub fn sizes(&self) -> &ConvSizes {
        &self.sizes
    }

    /// Images `[batch, channels, height, width]` by the first `rank` ranks that are left, all of them
    /// where there are fewer; without any the bias alone.
    ///
    /// # Panics
    /// If the channels are others, or the kernel is larger than the image with its border.
    pub fn forward(&self, x: Tensor<4>, rank: usize) -> Tensor<4> {
        let bias = self.factors.bias.as_ref().map(Param::val);
        if let Some(weight) = &self.factors.weight {
            return self.convolve(x, weight.val(), bias);
        }
        match self.factors.first(rank) {
            Some((u, v)) => {
                let found = self.convolve(x, v, None);
                let [outputs, rank] = u.dims();
                let pixels = u.reshape([outputs, rank, 1, 1]);
                conv2d(found, pixels, bias, [1; 2], Padding::NONE)
            }
            _ => {
                let [batch, _, height, width] = x.dims();
                let [height, width] = [height, width].map(|side| self.sizes.convolved(side));
                let outputs = self.sizes.outputs;
                let zeros = Tensor::zeros([batch, outputs, height, width], &x.device());
                match bias {
                    None => zeros,
                    Some(bias) => zeros + bias.reshape([1, outputs, 1, 1]),
                }
            }
        }
    }

    /// With the kernel that `map [outputs, channels · height · width]` is.
    fn convolve(&self, x: Tensor<4>, map: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<4> {
        let sizes = &self.sizes;
        let outputs = map.dims()[0];
        let kernel = map.reshape([outputs, sizes.inputs, sizes.kernel, sizes.kernel]);
        let stride = [sizes.stride; 2];
        if sizes.dilation == 1 {
            return conv2d(x, kernel, bias, stride, Padding::symmetric(sizes.padding));
        }
        let options = ConvOptions::new(stride, [sizes.padding; 2], [sizes.dilation; 2], 1);
        functional::conv2d(x, kernel, bias, options)
    }
}
