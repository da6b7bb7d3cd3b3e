//! The chain's slopes kept by their last hidden layer.
//!
//! A chain ends and begins with a linear layer. Slopes `k = h̃ V`, with `h̃ = [h, 1, t]` and V the last
//! layer's weight and bias, are only ever needed in sums, and as arguments only behind the first
//! layer, `(u + Σ c k) W = p + Σ c h̃ (V W)` with `p = u W`. So a stage costs products with the small
//! `V W`, and only the step's end and error are multiplied out.

use super::layers::{Dense, TimeChain};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use menagerie_nn::ode::tableau::WEIGHTS;
use menagerie_nn::ode::{Adjoint, Cotangent, Field, Stages, Term, combine, tanh_slope, tanh_sum};

/// A [`TimeChain`] as a field that is differentiated by hand.
#[derive(Debug)]
pub struct ChainField<'a> {
    chain: &'a TimeChain,
    /// W without the row of the time, `[size, hidden]`, and that row.
    first: Tensor<2>,
    first_time: Tensor<2>,
    first_bias: Tensor<2>,
    /// Weight without the row of the time, that row, and bias of the layers between.
    middle: Vec<[Tensor<2>; 3]>,
    /// V, `[hidden + 2, size]`.
    last: Tensor<2>,
    /// `V W`, `[hidden + 2, hidden]`.
    product: Tensor<2>,
}

/// A state, and its product with the first layer.
#[derive(Clone, Debug)]
pub struct Place {
    u: Tensor<2>,
    p: Tensor<2>,
}

impl Place {
    /// The state, `[batch, size]`.
    pub fn state(&self) -> &Tensor<2> {
        &self.u
    }
}

/// A slope.
#[derive(Clone, Debug)]
pub struct Slope {
    t: f64,
    /// Hidden layers but the last.
    below: Vec<Tensor<2>>,
    /// `[h, 1, t]`.
    hidden: Tensor<2>,
    /// `[h, 1, t] (V W)`.
    behind: Tensor<2>,
}

/// Weight without its last row, that row, and bias, without autodiff.
fn parts(layer: &Dense) -> [Tensor<2>; 3] {
    let weight = layer.weight.val().inner();
    let [inputs, outputs] = weight.dims();
    let time = weight.clone().slice([inputs - 1..inputs, 0..outputs]);
    let rest = weight.slice([0..inputs - 1, 0..outputs]);
    [rest, time, layer.bias.val().inner().unsqueeze()]
}

impl<'a> ChainField<'a> {
    /// The field of a chain.
    pub fn new(chain: &'a TimeChain) -> Self {
        let [first, first_time, first_bias] = parts(&chain.first);
        let [weight, time, bias] = parts(&chain.last);
        let last = Tensor::cat(vec![weight, bias, time], 0);
        Self {
            chain,
            product: last.clone().matmul(first.clone()),
            first,
            first_time,
            first_bias,
            middle: chain.middle.iter().map(parts).collect(),
            last,
        }
    }

    /// Units of the last hidden layer.
    fn hidden(&self) -> usize {
        self.last.dims()[0] - 2
    }

    /// `Σ c [h, 1, t]`.
    fn hidden_sum(terms: &[Term<'_, Slope>]) -> Tensor<2> {
        let terms: Vec<_> = terms.iter().map(|(c, slope)| (*c, &slope.hidden)).collect();
        combine(&terms)
    }
}

impl Field<2> for ChainField<'_> {
    type Place = Place;
    type Slope = Slope;

    fn place(&self, u: Tensor<2>) -> Place {
        let u = u.inner();
        Place {
            p: u.clone().matmul(self.first.clone()),
            u,
        }
    }

    fn state<'b>(&self, place: &'b Place) -> &'b Tensor<2> {
        &place.u
    }

    fn slope(&self, from: &Place, terms: &[Term<'_, Slope>], t: f64) -> Slope {
        let mut all = vec![(1.0, &from.p)];
        all.extend(terms.iter().map(|(c, slope)| (*c, &slope.behind)));
        let row = self.first_time.clone() * t + self.first_bias.clone();
        let extra = [1.0, t];
        let of = |at: usize| {
            if at == self.middle.len() {
                &extra[..]
            } else {
                &[]
            }
        };
        let mut hidden = tanh_sum(&all, &row, of(0));
        let mut below = Vec::with_capacity(self.middle.len());
        for (at, [weight, time, bias]) in self.middle.iter().enumerate() {
            let x = hidden.clone().matmul(weight.clone());
            let row = time.clone() * t + bias.clone();
            below.push(hidden);
            hidden = tanh_sum(&[(1.0, &x)], &row, of(at + 1));
        }
        Slope {
            t,
            below,
            behind: hidden.clone().matmul(self.product.clone()),
            hidden,
        }
    }

    fn moved(&self, from: &Place, terms: &[Term<'_, Slope>]) -> Place {
        let way = self.sum(terms);
        let mut behind = vec![(1.0, &from.p)];
        behind.extend(terms.iter().map(|(c, slope)| (*c, &slope.behind)));
        Place {
            u: combine(&[(1.0, &from.u), (1.0, &way)]),
            p: combine(&behind),
        }
    }

    fn sum(&self, terms: &[Term<'_, Slope>]) -> Tensor<2> {
        Self::hidden_sum(terms).matmul(self.last.clone())
    }
}

/// Gradients of a chain that add up.
#[derive(Clone, Debug, Default)]
pub struct ChainSum {
    first: Option<Tensor<2>>,
    first_time: Option<Tensor<2>>,
    first_bias: Option<Tensor<2>>,
    middle: Vec<[Option<Tensor<2>>; 3]>,
    last: Option<Tensor<2>>,
    /// Of `V W`: by way of both factors, and of W alone where slopes are constants.
    product: Option<Tensor<2>>,
    product_first: Option<Tensor<2>>,
}

fn add(sum: &mut Option<Tensor<2>>, term: Tensor<2>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + term,
        None => term,
    });
}

impl Adjoint<2> for ChainField<'_> {
    type Module = TimeChain;
    type Sum = ChainSum;

    fn module(&self) -> &TimeChain {
        self.chain
    }

    fn zero(&self) -> ChainSum {
        ChainSum {
            middle: vec![[const { None }; 3]; self.middle.len()],
            ..ChainSum::default()
        }
    }

    fn pull_back(
        &self,
        step: &Stages<'_, Place, Slope>,
        cotangents: &[Cotangent<2>],
        first: usize,
        sum: &mut ChainSum,
    ) -> Tensor<2> {
        let (hidden, size) = (self.hidden(), self.last.dims()[1]);
        let back = self.last.clone().slice([0..hidden, 0..size]).transpose();
        let count = step.slopes.len();
        // The last layer: of sums of slopes.
        let mut outer = Vec::with_capacity(cotangents.len());
        for cotangent in cotangents {
            let weights = cotangent.slopes.iter().zip(step.slopes).skip(first);
            let terms: Vec<_> = weights
                .filter(|(c, _)| **c != 0.0)
                .map(|(c, slope)| (*c, slope))
                .collect();
            if !terms.is_empty() {
                let hidden = Self::hidden_sum(&terms).transpose();
                add(&mut sum.last, hidden.matmul(cotangent.value.clone()));
                let gradient = cotangent.value.clone().matmul(back.clone());
                outer.push((&cotangent.slopes, gradient));
            }
        }
        let width = self.product.dims()[1];
        let inner = self
            .product
            .clone()
            .slice([0..hidden, 0..width])
            .transpose();
        let mut before: Vec<Option<Tensor<2>>> = vec![None; count];
        for at in (0..count).rev() {
            let slope = &step.slopes[at];
            // Arguments of later stages.
            let later = before.iter().enumerate().skip(at + 1);
            let later: Vec<_> = later
                .filter_map(|(stage, x)| Some((step.dt * WEIGHTS[stage][at], x.as_ref()?)))
                .filter(|(c, _)| *c != 0.0)
                .collect();
            let arguments = (!later.is_empty()).then(|| combine(&later));
            if let Some(arguments) = &arguments {
                let product = slope.hidden.clone().transpose().matmul(arguments.clone());
                add(
                    if at < first {
                        &mut sum.product_first
                    } else {
                        &mut sum.product
                    },
                    product,
                );
            }
            if at < first {
                continue;
            }
            let arguments = arguments.map(|arguments| arguments.matmul(inner.clone()));
            let mut terms: Vec<_> = outer
                .iter()
                .map(|(weights, gradient)| (weights[at], gradient))
                .filter(|(c, _)| *c != 0.0)
                .collect();
            terms.extend(arguments.iter().map(|gradient| (1.0, gradient)));
            if !terms.is_empty() {
                let gradient = tanh_slope(&terms, &slope.hidden);
                before[at] = Some(self.below(slope, gradient, sum));
            }
        }
        self.first_layer(step, cotangents, &before, sum)
    }

    fn gradients(&self, sum: ChainSum) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        let (mut first, mut last) = (sum.first, sum.last);
        if let Some(product) = sum.product {
            add(
                &mut last,
                product.clone().matmul(self.first.clone().transpose()),
            );
            add(&mut first, self.last.clone().transpose().matmul(product));
        }
        if let Some(product) = sum.product_first {
            add(&mut first, self.last.clone().transpose().matmul(product));
        }
        let mut register = |layer: &Dense, weight: Option<Tensor<2>>, bias: Option<Tensor<2>>| {
            if let (Some(weight), Some(bias)) = (weight, bias) {
                gradients.register(layer.weight.id, weight);
                gradients.register(layer.bias.id, bias.squeeze_dim::<1>(0));
            }
        };
        let below = |rest: Option<Tensor<2>>, time: Option<Tensor<2>>| {
            Some(Tensor::cat(vec![rest?, time?], 0))
        };
        let chain = self.chain;
        register(&chain.first, below(first, sum.first_time), sum.first_bias);
        for (layer, [weight, time, bias]) in chain.middle.iter().zip(sum.middle) {
            register(layer, below(weight, time), bias);
        }
        if let Some(last) = last {
            let (hidden, size) = (self.hidden(), last.dims()[1]);
            let rows = |from: usize, to: usize| last.clone().slice([from..to, 0..size]);
            let weight = below(Some(rows(0, hidden)), Some(rows(hidden + 1, hidden + 2)));
            register(&chain.last, weight, Some(rows(hidden, hidden + 1)));
        }
        gradients
    }
}

impl ChainField<'_> {
    /// The gradient behind the first layer, of that before the last tangent.
    fn below(&self, slope: &Slope, mut gradient: Tensor<2>, sum: &mut ChainSum) -> Tensor<2> {
        for (at, [weight, ..]) in self.middle.iter().enumerate().rev() {
            let x = &slope.below[at];
            let [by_weight, by_time, by_bias] = &mut sum.middle[at];
            let bias = gradient.clone().sum_dim(0);
            add(by_weight, x.clone().transpose().matmul(gradient.clone()));
            add(by_time, bias.clone() * slope.t);
            add(by_bias, bias);
            let outer = gradient.matmul(weight.clone().transpose());
            gradient = tanh_slope(&[(1.0, &outer)], x);
        }
        gradient
    }

    /// Gradients of the first layer, and of the state.
    fn first_layer(
        &self,
        step: &Stages<'_, Place, Slope>,
        cotangents: &[Cotangent<2>],
        before: &[Option<Tensor<2>>],
        sum: &mut ChainSum,
    ) -> Tensor<2> {
        let stages = before.iter().zip(step.slopes);
        let mut terms = Vec::with_capacity(before.len());
        for (gradient, slope) in stages {
            if let Some(gradient) = gradient {
                let bias = gradient.clone().sum_dim(0);
                add(&mut sum.first_time, bias.clone() * slope.t);
                add(&mut sum.first_bias, bias);
                terms.push((1.0, gradient));
            }
        }
        let all = (!terms.is_empty()).then(|| combine(&terms));
        let behind = all.map(|all| {
            add(
                &mut sum.first,
                step.from.u.clone().transpose().matmul(all.clone()),
            );
            all.matmul(self.first.clone().transpose())
        });
        let states = cotangents.iter().map(|c| (c.state, &c.value));
        let mut terms: Vec<_> = states.filter(|(c, _)| *c != 0.0).collect();
        terms.extend(behind.iter().map(|gradient| (1.0, gradient)));
        if terms.is_empty() {
            return step.from.u.zeros_like();
        }
        combine(&terms)
    }
}

impl TimeChain {
    /// The chain as a field, its weights without autodiff taken once.
    pub fn field(&self) -> ChainField<'_> {
        ChainField::new(self)
    }
}
