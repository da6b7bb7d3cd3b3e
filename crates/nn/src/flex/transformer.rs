//! The parts of transformers.

use super::{Kernel, run, values};
use crate::kernel::attention::{self, Shape};
use crate::kernel::gelu::Gelu;
use crate::kernel::micro::Level;
use crate::kernel::sgemm::{self, Matrix};
use crate::kernel::{gemm, rows};
use crate::memory::Buffer;
use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensor, TensorMetadata};
use burn::tensor::Tensor;
use std::sync::Arc;

/// Elements of a weight up to which the products with small matrices win against those with large
/// ones.
const SMALL_WEIGHT: usize = 1 << 17;

/// Rows below which they do not.
const SMALL_ROWS: usize = 64;

fn filled(len: usize, shape: Vec<usize>, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut buffer = Buffer::new(len);
    fill(&mut buffer);
    buffer.into_tensor(shape)
}

fn like(tensor: &FlexTensor, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    let shape = tensor.shape().to_vec();
    filled(shape.iter().product(), shape, fill)
}

/// Inputs: `x [rows, inputs]`, `w [inputs, outputs]` or its transpose, and a bias `[outputs]` where
/// `N` is 3.
#[derive(Clone, Debug)]
struct Linear {
    transposed: bool,
}

impl Linear {
    fn dims<const N: usize>(&self, inputs: &[FlexTensor; N]) -> [usize; 3] {
        let [rows, depth]: [usize; 2] = inputs[0].shape().dims();
        let [first, last]: [usize; 2] = inputs[1].shape().dims();
        [rows, depth, if self.transposed { first } else { last }]
    }

    fn is_small(&self, [rows, inputs, outputs]: [usize; 3]) -> bool {
        !self.transposed && inputs * outputs <= SMALL_WEIGHT && rows >= SMALL_ROWS
    }

    /// `w [inputs, outputs]`.
    fn weight<'a>(&self, w: &'a [f32], [_, inputs, outputs]: [usize; 3]) -> Matrix<'a> {
        match self.transposed {
            true => Matrix::rows(w, inputs).transposed(),
            false => Matrix::rows(w, outputs),
        }
    }
}

impl<const N: usize> Kernel<N> for Linear {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; N], _keep: bool) -> (FlexTensor, ()) {
        let dims = self.dims(inputs);
        let [rows, depth, outputs] = dims;
        let level = Level::detect();
        let bias = inputs.get(2).map(values);
        let (x, w) = (values(&inputs[0]), values(&inputs[1]));
        let y = filled(rows * outputs, vec![rows, outputs], |y| {
            if self.is_small(dims) {
                return gemm::linear(level, x, w, bias, [depth, outputs], y);
            }
            let (x, w) = (Matrix::rows(x, depth), self.weight(w, dims));
            let dims = [rows, outputs, depth];
            sgemm::multiply(level, dims, x, w, y, &|_, column, part| {
                if let Some(bias) = bias {
                    for (value, bias) in part.iter_mut().zip(&bias[column..]) {
                        *value += bias;
                    }
                }
            });
        });
        (y, ())
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; N],
        (): (),
        gradient: &FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let (level, dims) = (Level::detect(), self.dims(inputs));
        let [rows, depth, outputs] = dims;
        let (x, w, dy) = (values(&inputs[0]), values(&inputs[1]), values(gradient));
        let small = self.is_small(dims);
        let mut dx = wanted[0].then(|| {
            like(&inputs[0], |dx| {
                if small {
                    return gemm::linear_input(level, dy, w, [depth, outputs], dx);
                }
                let (dy, w) = (Matrix::rows(dy, outputs), self.weight(w, dims));
                let dims = [rows, depth, outputs];
                sgemm::multiply(level, dims, dy, w.transposed(), dx, &|_, _, _| ());
            })
        });
        let mut sums = wanted[1..].contains(&true).then(|| {
            let mut db = Buffer::new(outputs);
            let dw = like(&inputs[1], |dw| {
                if small {
                    return gemm::linear_weight(level, x, dy, [depth, outputs], dw, &mut db);
                }
                let (x, right) = (Matrix::rows(x, depth), Matrix::rows(dy, outputs));
                let (dims, left, right) = match self.transposed {
                    true => ([outputs, depth, rows], right.transposed(), x),
                    false => ([depth, outputs, rows], x.transposed(), right),
                };
                sgemm::multiply(level, dims, left, right, dw, &|_, _, _| ());
                if N == 3 {
                    gemm::column_sums(dy, &mut db);
                }
            });
            [Some(db.into_tensor([outputs])), Some(dw)]
        });
        std::array::from_fn(|input| match input {
            0 => dx.take(),
            _ if !wanted[input] => None,
            1 => sums.as_mut()?[1].take(),
            _ => sums.as_mut()?[0].take(),
        })
    }
}

/// A linear layer, its weight `[outputs, inputs]` if it is `transposed`, or `None` where the kernels
/// do not apply.
pub(crate) fn linear(
    x: Tensor<2>,
    w: Tensor<2>,
    bias: Option<Tensor<1>>,
    transposed: bool,
) -> Option<Tensor<2>> {
    if x.dims().contains(&0) || w.dims().contains(&0) {
        return None;
    }
    let (x, w) = (x.into_dispatch(), w.into_dispatch());
    let kernel = Linear { transposed };
    match bias {
        Some(bias) => run(&kernel, [x, w, bias.into_dispatch()]),
        None => run(&kernel, [x, w]),
    }
}

/// Inputs: `x [rows, size]`, gain and bias `[size]`.
#[derive(Clone, Debug)]
struct LayerNorm {
    epsilon: f32,
}

impl Kernel<3> for LayerNorm {
    type Saved = Arc<Vec<[f32; 2]>>;

    fn forward(&self, inputs: &[FlexTensor; 3], _keep: bool) -> (FlexTensor, Self::Saved) {
        let [x, gain, bias] = inputs.each_ref().map(values);
        let mut moments = vec![[0.0; 2]; x.len() / gain.len()];
        let y = like(&inputs[0], |y| {
            rows::layer_norm(
                Level::detect(),
                x,
                [gain, bias],
                self.epsilon,
                y,
                &mut moments,
            );
        });
        (y, Arc::new(moments))
    }

    fn backward(
        &self,
        inputs: &[FlexTensor; 3],
        moments: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [x, gain, _] = inputs.each_ref().map(values);
        let mut sums = Vec::new();
        let dx = like(&inputs[0], |dx| {
            let dy = values(gradient);
            sums = rows::layer_norm_backward(Level::detect(), x, dy, gain, &moments, dx);
        });
        let (gains, biases) = sums.split_at(gain.len());
        let tensor = |sums: &[f32]| like(&inputs[1], |out| out.copy_from_slice(sums));
        [
            wanted[0].then_some(dx),
            wanted[1].then(|| tensor(gains)),
            wanted[2].then(|| tensor(biases)),
        ]
    }
}

/// Layer normalisation, or `None` where the kernel does not apply.
pub(crate) fn layer_norm(
    x: Tensor<2>,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<2>> {
    if x.dims().contains(&0) {
        return None;
    }
    let kernel = LayerNorm {
        epsilon: epsilon as f32,
    };
    run(
        &kernel,
        [
            x.into_dispatch(),
            gain.into_dispatch(),
            bias.into_dispatch(),
        ],
    )
}

impl Kernel<1> for Gelu {
    type Saved = ();

    fn forward(&self, [x]: &[FlexTensor; 1], _keep: bool) -> (FlexTensor, ()) {
        let y = like(x, |y| Gelu::forward(*self, Level::detect(), values(x), y));
        (y, ())
    }

    fn backward(
        &self,
        [x]: &[FlexTensor; 1],
        (): (),
        gradient: &FlexTensor,
        wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let dx = || {
            like(x, |dx| {
                Gelu::backward(*self, Level::detect(), values(x), values(gradient), dx);
            })
        };
        [wanted[0].then(dx)]
    }
}

/// GELU, or `None` where the kernel does not apply.
pub(crate) fn gelu<const D: usize>(x: Tensor<D>, gelu: Gelu) -> Option<Tensor<D>> {
    run(&gelu, [x.into_dispatch()])
}

/// Attention over queries, keys and values side by side.
#[derive(Clone, Debug)]
struct Attention {
    heads: usize,
    kv_heads: usize,
    scale: f32,
    causal: bool,
}

impl Attention {
    fn shape(&self, qkv: &FlexTensor) -> (usize, Shape) {
        let [batch, tokens, width]: [usize; 3] = qkv.shape().dims();
        let shape = Shape {
            tokens,
            heads: self.heads,
            kv_heads: self.kv_heads,
            size: width / (self.heads + 2 * self.kv_heads),
            causal: self.causal,
        };
        (batch, shape)
    }
}

impl Kernel<1> for Attention {
    type Saved = Arc<Vec<f32>>;

    fn forward(&self, [qkv]: &[FlexTensor; 1], _keep: bool) -> (FlexTensor, Self::Saved) {
        let (batch, shape) = self.shape(qkv);
        let dims = vec![batch, shape.tokens, shape.heads * shape.size];
        let mut log_sums = vec![0.0; batch * shape.heads * shape.tokens];
        let out = filled(dims.iter().product(), dims, |out| {
            let level = Level::detect();
            attention::forward(level, shape, self.scale, values(qkv), out, &mut log_sums);
        });
        (out, Arc::new(log_sums))
    }

    fn backward(
        &self,
        [qkv]: &[FlexTensor; 1],
        log_sums: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let (_, shape) = self.shape(qkv);
        let gradient = || {
            like(qkv, |out| {
                let (level, dy) = (Level::detect(), values(gradient));
                attention::backward(level, shape, self.scale, values(qkv), &log_sums, dy, out);
            })
        };
        [wanted[0].then(gradient)]
    }
}

/// Attention, or `None` where the kernel does not apply.
pub(crate) fn attention(
    qkv: Tensor<3>,
    heads: usize,
    kv_heads: usize,
    scale: f64,
    causal: bool,
) -> Option<Tensor<3>> {
    // A negative scale would turn the largest score into the smallest.
    if qkv.dims().contains(&0) || scale <= 0.0 {
        return None;
    }
    let kernel = Attention {
        heads,
        kv_heads,
        scale: scale as f32,
        causal,
    };
    run(&kernel, [qkv.into_dispatch()])
}

/// Cross-entropy of every row with the class that it should have.
#[derive(Clone, Debug)]
struct CrossEntropy {
    targets: Arc<Vec<usize>>,
}

impl Kernel<1> for CrossEntropy {
    type Saved = Arc<Vec<f32>>;

    fn forward(&self, [logits]: &[FlexTensor; 1], _keep: bool) -> (FlexTensor, Self::Saved) {
        let [rows, classes]: [usize; 2] = logits.shape().dims();
        let mut log_sums = vec![0.0; rows];
        let losses = filled(rows, vec![rows], |losses| {
            let (level, logits) = (Level::detect(), values(logits));
            rows::cross_entropy(level, logits, &self.targets, classes, losses, &mut log_sums);
        });
        (losses, Arc::new(log_sums))
    }

    fn backward(
        &self,
        [logits]: &[FlexTensor; 1],
        log_sums: Self::Saved,
        gradient: &FlexTensor,
        wanted: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let [_, classes]: [usize; 2] = logits.shape().dims();
        let gradient = || {
            like(logits, |out| {
                rows::cross_entropy_backward(
                    Level::detect(),
                    values(logits),
                    &self.targets,
                    classes,
                    &log_sums,
                    values(gradient),
                    out,
                );
            })
        };
        [wanted[0].then(gradient)]
    }
}

/// Cross-entropy, or `None` where the kernel does not apply.
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: &[usize]) -> Option<Tensor<1>> {
    let logits: DispatchTensor = logits.into_dispatch();
    let targets = Arc::new(targets.to_vec());
    run(&CrossEntropy { targets }, [logits])
}
