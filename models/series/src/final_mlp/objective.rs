//! The loss of a click, and what is added to it.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use menagerie_nn::embedding::Penalty;

/// The mean binary cross-entropy of `logits [rows]` with `labels [rows]` that are 0 or 1: `[1]`. From
/// logits, so that no probability is rounded to 0 or 1.
pub fn cross_entropy(logits: Tensor<1>, labels: Tensor<1>) -> Tensor<1> {
    // max(z, 0) - y z + ln(1 + e^-|z|).
    let rest = logits.clone().abs().neg().exp().log1p();
    (logits.clone().clamp_min(0.0) - labels * logits + rest).mean()
}

/// The penalties of all parameters that are trained, through autodiff: the first of those called by
/// `embeddings`, the second of all others. `None` where both are zero.
pub(crate) fn regularisation<M: Module>(
    model: &M,
    embeddings: &[ParamId],
    penalties: [Penalty; 2],
) -> Option<Tensor<1>> {
    let mut sum = Sum {
        embeddings,
        penalties,
        total: None,
    };
    model.visit(&mut sum);
    sum.total
}

struct Sum<'a> {
    embeddings: &'a [ParamId],
    penalties: [Penalty; 2],
    total: Option<Tensor<1>>,
}

impl ModuleVisitor for Sum<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let [embedding, net] = self.penalties;
        let penalty = match self.embeddings.contains(&param.id) {
            true => embedding,
            false => net,
        };
        // Running moments are no parameters.
        if !value.is_require_grad() || penalty == Penalty::default() {
            return;
        }
        let mut term = value.clone().square().sum() * (0.5 * penalty.l2);
        if penalty.l1 != 0.0 {
            term = term + value.abs().sum() * penalty.l1;
        }
        self.total = Some(match self.total.take() {
            Some(total) => total + term,
            None => term,
        });
    }
}
