//! Multi-head attention whose four projections are products of two factors.

use super::dropout::Dropout;
use super::layer::LodLinear;
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, activation};
use menagerie_core::{Error, Result};

/// Attention of queries to keys and values; tokens come as `[time, batch, dim]`.
#[derive(Module, Debug)]
pub struct LodAttention {
    /// Queries, `dim` to `dim`, of all heads together.
    pub q_proj: LodLinear,
    /// Keys.
    pub k_proj: LodLinear,
    /// Values.
    pub v_proj: LodLinear,
    /// The heads mixed.
    pub out_proj: LodLinear,
    #[module(skip)]
    heads: usize,
}

/// The rank of each projection, in the order queries, keys, values, output.
pub type ProjectionRanks = [usize; 4];

impl LodAttention {
    /// Dense projections to start from.
    ///
    /// # Errors
    /// [`Error::Config`] if the heads do not divide the width.
    pub fn new(dim: usize, heads: usize, bias: bool, device: &Device) -> Result<Self> {
        if dim == 0 || heads == 0 || !dim.is_multiple_of(heads) {
            let rule = format!("must divide the width, which is {dim}");
            return Err(Error::config("LodAttention", "heads", heads, rule));
        }
        let layer = || LodLinear::new(dim, dim, bias, device);
        Ok(Self {
            q_proj: layer(),
            k_proj: layer(),
            v_proj: layer(),
            out_proj: layer(),
            heads,
        })
    }

    /// The same projections as products of factors.
    ///
    /// # Errors
    /// If a projection cannot be read.
    pub fn decompose(&self) -> Result<Self> {
        let mut factored = self.clone();
        for layer in factored.layers_mut() {
            layer.factors.decompose()?;
        }
        Ok(factored)
    }

    /// Queries, keys, values, output.
    pub fn layers(&self) -> [&LodLinear; 4] {
        [&self.q_proj, &self.k_proj, &self.v_proj, &self.out_proj]
    }

    /// Queries, keys, values, output.
    pub fn layers_mut(&mut self) -> [&mut LodLinear; 4] {
        [
            &mut self.q_proj,
            &mut self.k_proj,
            &mut self.v_proj,
            &mut self.out_proj,
        ]
    }

    /// What queries `[queries, batch, dim]` find in `[keys, batch, dim]`, of the shape of the queries,
    /// and the weights `[batch, queries, keys]`, the mean over heads. `blocked [queries, keys]` is
    /// true where a query must not look. Without ranks all are used.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn forward(
        &self,
        queries: Tensor<3>,
        keys: Tensor<3>,
        blocked: Option<Tensor<2, Bool>>,
        ranks: Option<ProjectionRanks>,
    ) -> (Tensor<3>, Tensor<3>) {
        self.forward_padded(queries, keys, [blocked, None], ranks, &mut Dropout::none())
    }

    /// [`forward`](Self::forward) where some keys are padding: the second of the masks, `[batch,
    /// keys]`, is true for them. `drop` takes weights out.
    pub(crate) fn forward_padded(
        &self,
        queries: Tensor<3>,
        keys: Tensor<3>,
        [blocked, padding]: [Option<Tensor<2, Bool>>; 2],
        ranks: Option<ProjectionRanks>,
        drop: &mut Dropout,
    ) -> (Tensor<3>, Tensor<3>) {
        let [q_rank, k_rank, v_rank, o_rank] = ranks.unwrap_or([usize::MAX; 4]);
        let [time, batch, dim] = queries.dims();
        let (heads, size) = (self.heads, dim / self.heads);
        let apart = |x: Tensor<3>| {
            let [time, batch, _] = x.dims();
            x.reshape([time, batch, heads, size]).permute([1, 2, 0, 3])
        };
        let q = apart(self.q_proj.forward(queries, q_rank)) * (size as f64).powf(-0.5);
        let k = apart(self.k_proj.forward(keys.clone(), k_rank));
        let v = apart(self.v_proj.forward(keys, v_rank));
        let mut scores = q.matmul(k.transpose());
        if let Some(blocked) = blocked {
            let dims = scores.dims();
            let blocked = blocked.unsqueeze::<4>().expand(dims);
            scores = scores.mask_fill(blocked, f32::NEG_INFINITY);
        }
        if let Some(padding) = padding {
            let dims = scores.dims();
            let padding = padding.unsqueeze_dims::<4>(&[1, 2]).expand(dims);
            scores = scores.mask_fill(padding, f32::NEG_INFINITY);
        }
        let map = drop.apply(activation::softmax(scores, 3));
        let [_, _, _, count] = map.dims();
        let mixed = map
            .clone()
            .matmul(v)
            .permute([2, 0, 1, 3])
            .reshape([time, batch, dim]);
        let weights = map.mean_dim(1).reshape([batch, time, count]);
        (self.out_proj.forward(mixed, o_rank), weights)
    }
}
