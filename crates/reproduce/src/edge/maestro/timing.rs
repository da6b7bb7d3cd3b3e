//! What cut layers cost.

use crate::Context;
use crate::efficient::common::medians;
use burn::module::Module;
use burn::tensor::{Distribution, Tensor};
use menagerie_core::{Result, Seed};
use menagerie_edge::maestro::{Factored, MlpConfig, Ranks};
use menagerie_train::initialise;

/// Passes of which the median counts.
const PASSES: usize = 15;
/// Rows of a pass.
const ROWS: usize = 128;
/// Inputs and outputs of the layer.
const WIDTH: usize = 1_024;
/// The ranks that it is cut to.
const RANKS: [usize; 3] = [64, 128, 256];

/// Seconds of a pass of a linear layer.
pub(super) struct Times {
    pub dense: f64,
    /// At each rank: the rank, the share of the dense layer's multiplications, and the seconds.
    pub cut: Vec<(usize, f64, f64)>,
}

/// Times a layer of 1024×1024 on 128 rows, dense and cut.
pub(super) fn measure(context: &Context) -> Result<Times> {
    let device = &context.device;
    let config = MlpConfig::new(vec![WIDTH, WIDTH]);
    let dense = initialise(device, Seed(0), || config.init(device))?;
    let factored = dense.redraw();
    let normal = Distribution::Normal(0.0, 1.0);
    let rows = Tensor::<2>::random([ROWS, WIDTH], normal, device);
    let networks: Vec<_> = RANKS
        .iter()
        .map(|rank| factored.extract(&Ranks::Each(vec![*rank]), true))
        .collect();
    let passes: Vec<Box<dyn Fn() -> Result<()> + '_>> = std::iter::once(&dense)
        .chain(&networks)
        .map(|network| {
            let (network, rows) = (network.valid(), rows.clone());
            let pass = move || {
                drop(
                    network
                        .forward_rows(rows.clone(), &Ranks::Full)?
                        .into_data(),
                );
                Ok(())
            };
            Box::new(pass) as Box<dyn Fn() -> Result<()>>
        })
        .collect();
    let passes: Vec<&dyn Fn() -> Result<()>> = passes.iter().map(AsRef::as_ref).collect();
    let mut times = medians(PASSES, &passes)?.into_iter();
    let dense = times.next().unwrap_or(f64::NAN);
    let share = |rank: usize| 2.0 * rank as f64 / WIDTH as f64;
    Ok(Times {
        dense,
        cut: RANKS
            .iter()
            .zip(times)
            .map(|(rank, seconds)| (*rank, share(*rank), seconds))
            .collect(),
    })
}
