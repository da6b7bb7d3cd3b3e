//! The terms of the objective, one after the other.

use super::{
    auxk::{Residual, auxiliary_loss},
    codes::{Codes, Latents},
    config::Activation,
    model::{Encoded, SaeOutput, SparseAutoencoder},
    objective::{
        ObjectiveConfig, Prefixes, Reconstruction, SaeLoss, Situation, Sparsity, fvu, lp_sum, mask,
        root, squared_error, take,
    },
    straight_through,
};
use burn::tensor::{Tensor, activation::relu};
use menagerie_core::Result;
use menagerie_nn::{sparse::Pattern, transformer::linear};

/// An objective on its way to a loss.
pub(super) struct Terms<'a> {
    pub sae: &'a SparseAutoencoder,
    pub objective: &'a ObjectiveConfig,
    pub situation: Situation<'a>,
    pub target: Tensor<2>,
    pub select: &'a dyn Fn(&SparseAutoencoder, &Tensor<2>) -> Pattern,
}

impl Terms<'_> {
    pub fn evaluate(&self, x: Tensor<2>) -> Result<(SaeLoss, SaeOutput)> {
        let encoded = self.sae.prepare(x.clone())?;
        let Encoded { input, scaling } = encoded;
        let activation = self.sae.config().activation;
        // Selecting variants keep the scores of all latents as constants, the others have them
        // with a gradient.
        let (latents, sparsity, second, scores) = match activation {
            Activation::Relu => {
                let z = relu(self.sae.linear(input.clone()));
                let sparsity = self.lp(&z);
                (Latents::Dense(z), sparsity, None, None)
            }
            Activation::JumpRelu { bandwidth, .. } => {
                let (z, sparsity, second) = self.jump(input.clone(), bandwidth);
                (Latents::Dense(z), sparsity, second, None)
            }
            Activation::Gated => {
                let (z, sparsity, second) = self.gated(input.clone());
                (Latents::Dense(z), sparsity, second, None)
            }
            _ => {
                let scores = self.sae.scores(&input);
                let pattern = (self.select)(self.sae, &scores);
                let latents = self.sae.kept(input.clone(), pattern);
                (latents, None, None, Some(scores))
            }
        };
        let codes = Codes { latents, scaling };
        let reconstruction = self.sae.decode_unchecked(&codes, Some(x.clone()));
        let (term, prefixes) = self.reconstruction(&codes, &reconstruction, &x);
        let mut total = term.clone();
        for extra in [&sparsity, &second].into_iter().flatten() {
            total = total + extra.clone();
        }
        let mut auxiliary = None;
        let after = self.dead_after(&codes);
        if let (Some(config), Some(scores), Some(dead)) = (
            &self.objective.auxiliary,
            &scores,
            after.as_deref().or(self.situation.dead),
        ) {
            let residual = Residual {
                reconstruction: &reconstruction,
                target: &self.target,
                scaling: codes.scaling.as_ref(),
            };
            auxiliary = auxiliary_loss(self.sae, config, &input, scores, dead, residual);
            if let Some(loss) = &auxiliary {
                total = total + loss.clone() * config.coefficient;
            }
        }
        let mut multi_topk = None;
        if let (Some(weight), Some(scores)) = (self.objective.multi_topk, &scores) {
            let fvu = self.multi_topk(input, scores, &codes, x);
            total = total + fvu.clone() * weight;
            multi_topk = Some(fvu);
        }
        let loss = SaeLoss {
            total,
            reconstruction: term,
            prefixes,
            sparsity,
            second,
            auxiliary,
            multi_topk,
        };
        let output = SaeOutput {
            codes,
            reconstruction,
        };
        Ok((loss, output))
    }

    /// The latents that are dead after a batch with these codes, where the auxiliary term asks for
    /// them.
    fn dead_after(&self, codes: &Codes) -> Option<Vec<bool>> {
        let (silent, amount) = self.situation.silent?;
        let auxiliary = self.objective.auxiliary?;
        auxiliary.convention.counts_the_batch().then(|| {
            let mut silent = silent.clone();
            silent.update(codes, amount);
            silent.mask()
        })
    }

    fn scale(&self) -> f64 {
        self.situation.sparsity_scale.unwrap_or(1.0)
    }

    fn norms(&self) -> Tensor<2> {
        self.sae.decoder_norms().unsqueeze()
    }

    fn lp(&self, z: &Tensor<2>) -> Option<Tensor<1>> {
        let Sparsity::Lp {
            coefficient,
            weighted,
            p,
            power,
        } = self.objective.sparsity
        else {
            return None;
        };
        let z = match weighted {
            true => z.clone() * self.norms(),
            false => z.clone(),
        };
        let sum = lp_sum(z, p);
        let sum = match power || p == 1.0 {
            true => sum,
            false => root(sum, 1.0 / p),
        };
        Some(sum.mean() * (coefficient * self.scale()))
    }

    fn jump(
        &self,
        input: Tensor<2>,
        bandwidth: f64,
    ) -> (Tensor<2>, Option<Tensor<1>>, Option<Tensor<1>>) {
        let h = self.sae.linear(input);
        let Some(theta) = self.sae.thresholds() else {
            return (relu(h), None, None);
        };
        let z = straight_through::jump(h.clone(), theta.clone(), bandwidth);
        let count = |h: Tensor<2>| straight_through::step(h, theta.clone(), bandwidth);
        let rows = z.dims()[0] as f64;
        let scale = self.scale();
        let mut second = None;
        let sparsity = match self.objective.sparsity {
            Sparsity::Step { coefficient } => Some(count(h).sum() * (coefficient * scale / rows)),
            Sparsity::Tanh {
                coefficient,
                scale: steepness,
                pre_activation,
            } => {
                let soft = (z.clone() * self.norms() * steepness).tanh();
                if let (Some(weight), Some(dead)) = (pre_activation, self.situation.dead) {
                    let missing = relu(theta.clone().unsqueeze::<2>() - h);
                    let dead = mask(dead, &z).unsqueeze::<2>();
                    let sum = (missing * dead * self.norms()).sum();
                    second = Some(sum * (weight / rows));
                }
                Some(soft.sum() * (coefficient * scale / rows))
            }
            Sparsity::TargetL0 {
                coefficient,
                target,
            } => {
                let l0 = count(z.clone()).sum() / rows;
                Some((l0 / target - 1.0).square() * (coefficient * scale))
            }
            _ => None,
        };
        (z, sparsity, second)
    }

    fn gated(&self, input: Tensor<2>) -> (Tensor<2>, Option<Tensor<1>>, Option<Tensor<1>>) {
        let (z, gate) = self.sae.gated(input);
        let Sparsity::Gate {
            coefficient,
            weighted,
            detached,
        } = self.objective.sparsity
        else {
            return (z, None, None);
        };
        let rows = z.dims()[0] as f64;
        let sum = match weighted {
            true => gate.clone() * self.norms(),
            false => gate.clone(),
        };
        let sparsity = sum.sum() * (coefficient * self.scale() / rows);
        let (decoder, bias) = (self.sae.decoder.val(), self.sae.b_dec.val());
        let (decoder, bias) = match detached {
            true => (decoder.detach(), bias.detach()),
            false => (decoder, bias),
        };
        let from_gate = linear(gate, decoder, Some(bias));
        let second = squared_error(from_gate, self.target.clone());
        (z, Some(sparsity), Some(second))
    }

    /// The reconstruction term and, where there are prefixes, that of each.
    fn reconstruction(
        &self,
        codes: &Codes,
        full: &Tensor<2>,
        x: &Tensor<2>,
    ) -> (Tensor<1>, Vec<Tensor<1>>) {
        let error = |reconstruction: Tensor<2>| {
            let target = self.target.clone();
            match self.objective.reconstruction {
                Reconstruction::SquaredError => squared_error(reconstruction, target),
                Reconstruction::Fvu => fvu(reconstruction, target),
                Reconstruction::ScaledMean(scale) => {
                    (reconstruction - target).square().mean() * scale
                }
            }
        };
        let Some(Prefixes { widths, weights }) = &self.objective.prefixes else {
            return (error(full.clone()), vec![]);
        };
        let mut terms = vec![];
        let mut total: Option<Tensor<1>> = None;
        for (&width, &weight) in widths.iter().zip(weights) {
            let prefix = match &codes.latents {
                _ if width == self.sae.config().d_sae => error(full.clone()),
                Latents::Sparse { values, pattern } => {
                    let (pattern, entries) = pattern.filter(|_, column| column < width);
                    let codes = Codes {
                        latents: Latents::Sparse {
                            values: take(values.clone(), &entries),
                            pattern,
                        },
                        scaling: codes.scaling.clone(),
                    };
                    error(self.sae.decode_unchecked(&codes, Some(x.clone())))
                }
                // `validate` asks for a selecting activation.
                Latents::Dense(_) => continue,
            };
            terms.push(prefix.clone());
            let weighted = prefix * weight;
            total = Some(match total {
                Some(total) => total + weighted,
                None => weighted,
            });
        }
        (total.unwrap_or_else(|| error(full.clone())), terms)
    }

    /// The FVU with 4 k latents, which moves the decoder alone.
    fn multi_topk(
        &self,
        input: Tensor<2>,
        scores: &Tensor<2>,
        codes: &Codes,
        x: Tensor<2>,
    ) -> Tensor<1> {
        let width = self.sae.config().d_sae;
        let k = (4 * self.sae.config().activation.k().unwrap_or(width)).min(width);
        let pattern = Pattern::topk(scores, k);
        let latents = match self.sae.kept(input, pattern) {
            Latents::Sparse { values, pattern } => Latents::Sparse {
                values: values.detach(),
                pattern,
            },
            dense => dense,
        };
        let codes = Codes {
            latents,
            scaling: codes.scaling.clone(),
        };
        let reconstruction = self.sae.decode_unchecked(&codes, Some(x));
        fvu(reconstruction, self.target.clone())
    }
}
