//! Arithmetic on all gradients of a module at once.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// The Euclidean norm over all gradients, shape `[1]`; `None` if there is no gradient.
pub fn global_norm<M: Module>(module: &M, gradients: &GradientsParams) -> Option<Tensor<1>> {
    struct Sum<'a> {
        gradients: &'a GradientsParams,
        squares: Option<Tensor<1>>,
    }
    impl ModuleVisitor for Sum<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                let square = gradient.square().sum();
                self.squares = Some(match self.squares.take() {
                    Some(squares) => squares + square,
                    None => square,
                });
            }
        }
    }
    let mut sum = Sum {
        gradients,
        squares: None,
    };
    module.visit(&mut sum);
    sum.squares.map(Tensor::sqrt)
}

/// Multiplies every gradient by `factor`, shape `[1]`.
pub fn scale<M: Module>(
    module: &M,
    gradients: GradientsParams,
    factor: &Tensor<1>,
) -> GradientsParams {
    struct Scale<'a> {
        gradients: GradientsParams,
        factor: &'a Tensor<1>,
    }
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                let factor = self.factor.clone().to_device(&gradient.device());
                let scaled = if D == 0 {
                    gradient.mul(factor.reshape([1; D]))
                } else {
                    gradient.mul(factor.unsqueeze())
                };
                self.gradients.register(param.id, scaled);
            }
        }
    }
    let mut visitor = Scale { gradients, factor };
    module.visit(&mut visitor);
    visitor.gradients
}

/// Scales the gradients down so that their common norm is at most `limit`, as PyTorch's
/// `clip_grad_norm_` does. Burn's own clipping by norm looks at each parameter alone.
pub fn clip_global_norm<M: Module>(
    module: &M,
    gradients: GradientsParams,
    limit: f64,
) -> GradientsParams {
    match global_norm(module, &gradients) {
        None => gradients,
        Some(norm) => {
            let factor = norm
                .add_scalar(1e-6)
                .recip()
                .mul_scalar(limit)
                .clamp_max(1.0);
            scale(module, gradients, &factor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    #[test]
    fn the_norm_is_common_to_all_parameters() {
        let device = Device::flex().autodiff();
        let layer = LinearConfig::new(2, 1).init(&device);
        let input = Tensor::<2>::from_floats([[3.0, 0.0]], &device);
        // d/dweight = [3, 0], d/dbias = 4: norm 5.
        let output = layer.forward(input);
        let bias = layer.bias.as_ref().unwrap().val();
        let loss = output.sum() + bias.mul_scalar(3.0);
        let gradients = GradientsParams::from_grads(loss.backward(), &layer);
        let norm = |gradients: &GradientsParams| -> f32 {
            global_norm(&layer, gradients).unwrap().into_scalar()
        };
        assert!((norm(&gradients) - 5.0).abs() < 1e-6);
        let clipped = clip_global_norm(&layer, gradients, 1.0);
        assert!((norm(&clipped) - 1.0).abs() < 1e-5);
        let untouched = clip_global_norm(&layer, clipped, 10.0);
        assert!((norm(&untouched) - 1.0).abs() < 1e-5);
    }
}
