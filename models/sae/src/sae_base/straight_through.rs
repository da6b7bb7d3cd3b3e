//! Straight-through estimators of JumpReLU (Rajamanoharan et al. 2407.14435, equations 11 and 12),
//! with the rectangular kernel K(u) = 1\[|u| < 1/2\].

use burn::tensor::Tensor;

/// h · 1\[h > θ\] for pre-activations `h` `[rows, latents]` and thresholds `theta` `[latents]`.
///
/// The gradient of h is 1\[h > θ\], that of θ is -(θ/ε) K((h - θ)/ε), summed over the rows.
pub fn jump(h: Tensor<2>, theta: Tensor<1>, bandwidth: f64) -> Tensor<2> {
    let theta = theta.unsqueeze::<2>();
    let open = h.clone().greater(theta.clone()).float();
    let slope = kernel(&h, &theta, bandwidth) * (theta.clone().detach() / -bandwidth);
    h * open + zero_with_gradient(slope, theta)
}

/// 1\[h > θ\], whose gradient of θ is -(1/ε) K((h - θ)/ε) and of h is 0.
pub fn step(h: Tensor<2>, theta: Tensor<1>, bandwidth: f64) -> Tensor<2> {
    let theta = theta.unsqueeze::<2>();
    let h = h.detach();
    let open = h.clone().greater(theta.clone()).float();
    let slope = kernel(&h, &theta, bandwidth) / -bandwidth;
    open + zero_with_gradient(slope, theta)
}

/// K((h - θ)/ε), without a gradient.
fn kernel(h: &Tensor<2>, theta: &Tensor<2>, bandwidth: f64) -> Tensor<2> {
    let distance = (h.clone().detach() - theta.clone().detach()) / bandwidth;
    let inside = distance.clone().greater_elem(-0.5).float();
    inside * distance.lower_elem(0.5).float()
}

/// 0 with the gradient `slope` of `theta`.
fn zero_with_gradient(slope: Tensor<2>, theta: Tensor<2>) -> Tensor<2> {
    slope * (theta.clone() - theta.detach())
}
