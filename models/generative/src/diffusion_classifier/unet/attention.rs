//! Attention between the pixels of a map.

use super::super::config::{QkvOrder, UNetConfig};
use super::{EPSILON, pytorch};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use menagerie_nn::group_norm::GroupNorm;
use menagerie_nn::transformer::{attention, linear_transposed};

/// `x + proj(attention(qkv(GN(x))))`, with pixels as tokens; the last projection starts at 0.
#[derive(Module, Debug)]
pub struct AttentionBlock {
    /// Before the projection; `norm`.
    pub norm: GroupNorm,
    /// To queries, keys and values, `[3 · channels, channels]`; `qkv.weight`.
    pub qkv_weight: Param<Tensor<2>>,
    /// `[3 · channels]`; `qkv.bias`.
    pub qkv_bias: Param<Tensor<1>>,
    /// The heads mixed, `[channels, channels]`; `proj_out.weight`.
    pub proj_weight: Param<Tensor<2>>,
    /// `[channels]`; `proj_out.bias`.
    pub proj_bias: Param<Tensor<1>>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    order: QkvOrder,
}

impl AttentionBlock {
    /// Of `channels` channels, in `heads` heads.
    pub(super) fn new(config: &UNetConfig, channels: usize, heads: usize, device: &Device) -> Self {
        let fan = Some(channels);
        let wide = 3 * channels;
        Self {
            norm: GroupNorm::new(config.norm_groups, channels, EPSILON, device),
            qkv_weight: pytorch().init_with([wide, channels], fan, None, device),
            qkv_bias: pytorch().init_with([wide], fan, None, device),
            proj_weight: Initializer::Zeros.init([channels, channels], device),
            proj_bias: Initializer::Zeros.init([channels], device),
            heads,
            order: config.qkv_order,
        }
    }

    /// Maps `[batch, channels, height, width]` to the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let dims @ [batch, channels, h, w] = x.dims();
        let tokens = self.norm.forward(x.clone());
        let tokens = tokens.reshape([batch, channels, h * w]).swap_dims(1, 2);
        let (weight, bias) = self.projection();
        let qkv = linear_transposed(tokens, weight, Some(bias));
        let size = (channels / self.heads) as f64;
        // Queries and keys times size^(-1/4) each, as one factor of their products.
        let mixed = attention(qkv, self.heads, size.powf(-0.5));
        let mixed = linear_transposed(mixed, self.proj_weight.val(), Some(self.proj_bias.val()));
        x + mixed.swap_dims(1, 2).reshape(dims)
    }

    /// Weight and bias with the rows of all queries first, then those of keys and values.
    fn projection(&self) -> (Tensor<2>, Tensor<1>) {
        let (weight, bias) = (self.qkv_weight.val(), self.qkv_bias.val());
        if self.order == QkvOrder::Separate || self.heads == 1 {
            return (weight, bias);
        }
        let [wide, channels] = weight.dims();
        let size = channels / self.heads;
        let weight = weight
            .reshape([self.heads, 3, size, channels])
            .swap_dims(0, 1)
            .reshape([wide, channels]);
        let bias = bias
            .reshape([self.heads, 3, size])
            .swap_dims(0, 1)
            .reshape([wide]);
        (weight, bias)
    }
}
