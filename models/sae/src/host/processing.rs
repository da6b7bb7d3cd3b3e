//! The weight processing that TransformerLens applies when it loads a model, which public
//! autoencoders may assume.

use super::{
    config::{Architecture, LanguageModelConfig},
    layers::Norm,
    model::LanguageModel,
};
use burn::{
    config::Config,
    module::{Module, Param},
    nn::Linear,
    tensor::Tensor,
};
use menagerie_core::{Error, Result};

/// Which steps to take; all of them by default, as `HookedTransformer.from_pretrained` does.
///
/// None changes a probability. Of a GPT-2 with every step, the residual stream is the original one
/// minus its mean over the width, `z` is the original one minus the value's bias (with what the norm's
/// bias contributes to it), and MLP activations are the same.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub struct Processing {
    /// Gains and biases of norms go into the layers that read their output, whose weights are then
    /// centred along their inputs: a normed vector has no mean.
    #[config(default = true)]
    pub fold_norms: bool,
    /// What is added to the residual stream loses its mean over the width, which norms ignore.
    #[config(default = true)]
    pub center_writing: bool,
    /// The unembedding loses its mean over the vocabulary, which softmax ignores.
    #[config(default = true)]
    pub center_unembedding: bool,
    /// Biases of values go into the bias of the attention's output: attention sums to 1.
    #[config(default = true)]
    pub fold_value_biases: bool,
}

impl LanguageModel {
    /// The model with processed weights, without autodiff; its unembedding is untied and has a bias.
    ///
    /// # Errors
    /// [`Error::Input`] for another architecture than GPT-2.
    pub fn processed(&self, steps: Processing) -> Result<Self> {
        if self.config.architecture != Architecture::Gpt2 {
            return Err(Error::input(
                "the architecture to process",
                self.config.architecture,
                "must be Gpt2",
            ));
        }
        let mut model = self.valid();
        let mut head = unembedding(&model);
        if steps.fold_norms {
            for block in &mut model.blocks {
                fold(&mut block.attention_norm, &mut block.attention.qkv);
                fold(&mut block.mlp_norm, &mut block.mlp.up);
            }
            fold(&mut model.final_norm, &mut head);
        }
        if steps.center_writing {
            set(&mut model.embedding, centered);
            if let Some(positions) = &mut model.positions {
                set(positions, centered);
            }
            for block in &mut model.blocks {
                for layer in [&mut block.attention.output, &mut block.mlp.down] {
                    center_outputs(layer);
                }
            }
        }
        if steps.center_unembedding {
            center_outputs(&mut head);
        }
        if steps.fold_value_biases {
            for block in &mut model.blocks {
                let attention = &mut block.attention;
                fold_values(&mut attention.qkv, &mut attention.output);
            }
        }
        model.head = Some(head);
        model.config = LanguageModelConfig {
            tied: false,
            head_bias: true,
            ..model.config
        };
        Ok(model)
    }
}

/// The unembedding as a layer of its own with a bias.
fn unembedding(model: &LanguageModel) -> Linear {
    let weight = match &model.head {
        Some(head) => head.weight.val(),
        None => model.embedding.val().transpose(),
    };
    let [_, vocabulary] = weight.dims();
    let bias = model.head.as_ref().and_then(|head| head.bias.as_ref());
    let bias = match bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([vocabulary], &weight.device()),
    };
    Linear {
        weight: Param::from_tensor(weight),
        bias: Some(Param::from_tensor(bias)),
    }
}

fn set<const D: usize>(param: &mut Param<Tensor<D>>, change: impl FnOnce(Tensor<D>) -> Tensor<D>) {
    *param = param.clone().map(change);
}

/// Without the mean over the last axis.
fn centered<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let mean = x.clone().mean_dim(D - 1);
    x - mean
}

fn center_outputs(layer: &mut Linear) {
    set(&mut layer.weight, centered);
    if let Some(bias) = &mut layer.bias {
        set(bias, centered);
    }
}

/// `layer(norm(x))` with the norm's gain and bias in the layer.
fn fold(norm: &mut Norm, layer: &mut Linear) {
    let weight = layer.weight.val();
    if let (Some(norm), Some(bias)) = (&norm.bias, &mut layer.bias) {
        let shift = norm.val().unsqueeze::<2>().matmul(weight).squeeze_dim(0);
        set(bias, |bias| bias + shift);
    }
    let gain = norm.gain.val().unsqueeze_dim::<2>(1);
    set(&mut layer.weight, |weight| {
        let weight = weight * gain;
        let mean = weight.clone().mean_dim(0);
        weight - mean
    });
    set(&mut norm.gain, |gain| gain.ones_like());
    if let Some(bias) = &mut norm.bias {
        set(bias, |bias| bias.zeros_like());
    }
}

/// Moves the values' biases behind the output projection. Query, key and value are of equal size.
fn fold_values(qkv: &mut Linear, output: &mut Linear) {
    let (Some(bias), Some(output_bias)) = (&mut qkv.bias, &mut output.bias) else {
        return;
    };
    let [all] = bias.dims();
    let size = all / 3;
    let values = bias.val().narrow(0, 2 * size, size);
    let moved = values.unsqueeze::<2>().matmul(output.weight.val());
    set(output_bias, |bias| bias + moved.squeeze_dim(0));
    set(bias, |bias| bias.slice_fill(2 * size..all, 0.0));
}
