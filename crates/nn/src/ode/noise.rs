//! Brownian increments that stay the same path when steps are taken back.

use crate::noise::draw_normal;
use burn::tensor::{DType, Device, Tensor};
use menagerie_core::Seed;

/// What two independent Brownian motions do over a time.
#[derive(Clone, Debug)]
pub struct Increment<const D: usize> {
    /// The time.
    pub dt: f64,
    /// Of the motion that drives the equation: normal, of variance `dt`.
    pub dw: Tensor<D>,
    /// Of the auxiliary motion, of the same law.
    pub dz: Tensor<D>,
}

impl<const D: usize> Increment<D> {
    /// Both motions one after the other.
    fn then(self, later: Self) -> Self {
        Self {
            dt: self.dt + later.dt,
            dw: self.dw + later.dw,
            dz: self.dz + later.dz,
        }
    }
}

/// A path that is drawn as it is asked for. What a rejected step has seen of it comes again: a
/// shorter step takes a part of the increment by a Brownian bridge, and the rest waits (the memory of
/// Rackauckas and Nie, *Adaptive methods for stochastic differential equations via natural embeddings
/// and rejection sampling with memory*, DCDS-B 22, 2017).
#[derive(Clone, Debug)]
pub struct Brownian<const D: usize> {
    shape: [usize; D],
    device: Device,
    dtype: DType,
    seed: Seed,
    drawn: u64,
    /// Increments that are known, the next one last.
    ahead: Vec<Increment<D>>,
}

impl<const D: usize> Brownian<D> {
    /// A path of the shape, device and precision of `like`, decided by the seed.
    pub fn new(like: &Tensor<D>, seed: Seed) -> Self {
        Self {
            shape: like.dims(),
            device: like.device().without_autodiff(),
            dtype: like.dtype(),
            seed,
            drawn: 0,
            ahead: Vec::new(),
        }
    }

    fn normal(&mut self, deviation: f64) -> Tensor<D> {
        let seed = self.seed.at(self.drawn);
        self.drawn += 1;
        let normal = draw_normal(self.shape, seed, &self.device);
        normal.cast(self.dtype) * deviation
    }

    /// The increment over the next `dt`.
    pub fn next(&mut self, dt: f64) -> Increment<D> {
        let mut all: Option<Increment<D>> = None;
        let mut left = dt;
        // Rounding of a few units counts as nothing.
        while left > dt * 1e-12 {
            let part = match self.ahead.pop() {
                Some(known) if known.dt <= left * (1.0 + 1e-12) => known,
                Some(known) => self.bridged(known, left),
                None => Increment {
                    dt: left,
                    dw: self.normal(left.sqrt()),
                    dz: self.normal(left.sqrt()),
                },
            };
            left -= part.dt;
            all = Some(match all {
                Some(before) => before.then(part),
                None => part,
            });
        }
        all.unwrap_or_else(|| Increment {
            dt,
            dw: self.normal(0.0),
            dz: self.normal(0.0),
        })
    }

    /// The first `dt` of a known increment; the rest waits.
    fn bridged(&mut self, known: Increment<D>, dt: f64) -> Increment<D> {
        let share = dt / known.dt;
        let deviation = (dt * (1.0 - share)).sqrt();
        let dw = known.dw.clone() * share + self.normal(deviation);
        let dz = known.dz.clone() * share + self.normal(deviation);
        self.ahead.push(Increment {
            dt: known.dt - dt,
            dw: known.dw - dw.clone(),
            dz: known.dz - dz.clone(),
        });
        Increment { dt, dw, dz }
    }

    /// Takes back the last increment, of a step that was rejected.
    pub fn take_back(&mut self, increment: Increment<D>) {
        self.ahead.push(increment);
    }
}
