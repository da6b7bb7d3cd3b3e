//! The error of sparse autoencoders of growing width on a small character model, taken apart; and
//! the same on activations whose parts are known.

mod data;
mod measure;
mod present;
mod train;

use crate::{Context, Recipe, Scale, jobs, sae::host::Host};
use data::{Data, Sites};
use measure::{Analysed, Known, Pursued};
use menagerie_core::{Result, Seed};
use menagerie_data_text::{Windows, split as split_text};
use menagerie_hub::HubOptions;
use menagerie_report::Report;
use menagerie_sae::{
    activations::{HookedModel, HostSource, HostSourceConfig},
    formats,
    host::{HookPoint, LanguageModel},
    sae::{
        Activation, Initialization, SaeConfig, SparseAutoencoder,
        training::{DeadRule, RateSchedule, SaeTrainingConfig},
    },
    sae_dark_matter::{
        self, AnalysisConfig, Baseline, CrossComponent, CrossWidth, Disturbance, ErrorComponent,
        ErrorSource, LinearFit, PowerLaw, ProceduralConfig, Split, error_training, gather,
        published_error_sae,
    },
};
use menagerie_train::Progress;
use train::{Job, Supply};

/// The recipe behind `cargo xtask reproduce sae-dark-matter`.
pub const RECIPE: Recipe = Recipe {
    system: &sae_dark_matter::SYSTEM,
    run,
};

fn run(context: &Context) -> anyhow::Result<Report> {
    let experiment = match context.scale {
        Scale::Small => Experiment::small(context),
        Scale::Paper => Experiment::paper(context),
    };
    let outcome = experiment.run(context)?;
    Ok(present::report(context, &experiment, &outcome)?)
}

/// Where the autoencoders at the analysed site come from.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    /// TopK autoencoders, trained here, each with every seed.
    Trained { seeds: usize },
    /// Published ones, one per width.
    Published {
        release: &'static str,
        ids: &'static [&'static str],
    },
}

/// Sizes of the whole comparison.
struct Experiment {
    host: Host,
    source: Source,
    /// Windows that go through the host at a time.
    host_batch: usize,
    /// The analysed site is the residual stream before this block.
    layer: usize,
    analysis: AnalysisConfig,
    /// Widths F of the autoencoders, ascending.
    widths: Vec<usize>,
    /// Latents that are kept per row.
    k: usize,
    /// Steps of an autoencoder's training, and rows per step.
    steps: usize,
    batch: usize,
    /// The width of the autoencoders at other sites and on parts of the error.
    side_width: usize,
    /// Batches of windows through which the loss is measured.
    injection_batches: usize,
    procedural: ProceduralConfig,
    seed: Seed,
}

/// What was measured.
struct Outcome {
    /// `[seed][width]`.
    widths: Vec<Vec<Analysed>>,
    /// `[seed][pair of neighbouring widths]`.
    neighbours: Vec<Vec<CrossWidth>>,
    /// R² of an unrelated error, by seed.
    control: Vec<f64>,
    /// Of the means over seeds, where there are enough widths.
    power_law: Option<PowerLaw>,
    /// For the largest width of the first seed.
    baselines: Vec<(Baseline, f64)>,
    /// The error at the side width from other sites' reconstructions.
    elsewhere: Vec<(&'static str, CrossComponent)>,
    /// FVU of autoencoders on parts of the error.
    components: Vec<(ErrorComponent, f64)>,
    alignment: f64,
    /// Disturbance, R² of the reconstruction, R² with the linear prediction.
    disturbed: Vec<(Disturbance, f64, f64)>,
    known: Vec<Known>,
}

impl Experiment {
    /// A character model of 6 blocks, 48,048 residuals before block 3, TopK autoencoders with 64 to
    /// 1,024 latents.
    fn small(context: &Context) -> Self {
        Self {
            host: Host::Character { steps: 2_000 },
            source: Source::Trained { seeds: 2 },
            host_batch: 32,
            layer: 3,
            // 60 % of the rows are fitted, the rest is scored.
            analysis: AnalysisConfig::new(429, 128, 16, 0, 28_800, 19_248),
            widths: vec![64, 128, 256, 512, 1_024],
            k: 8,
            steps: 1_200,
            batch: 1_024,
            side_width: 256,
            injection_batches: 4,
            procedural: ProceduralConfig::new(),
            seed: Seed(context.seed),
        }
    }

    /// Gemma-2 2B after layer 12 with Gemma Scope, 300 texts of 1,024 tokens, and the published size
    /// of autoencoders on parts of the error: 500 million tokens in batches of 8 texts.
    fn paper(context: &Context) -> Self {
        let side = published_error_sae();
        let analysis = AnalysisConfig::published();
        let texts = 8;
        Self {
            host: Host::Hub {
                id: "google/gemma-2-2b",
                context: 1_024,
            },
            source: Source::Published {
                release: "google/gemma-scope-2b-pt-res",
                ids: &[
                    "layer_12/width_16k/average_l0_82",
                    "layer_12/width_65k/average_l0_72",
                ],
            },
            host_batch: 1,
            // What leaves block 12 enters block 13.
            layer: 13,
            widths: vec![16_384, 65_536],
            k: 32,
            steps: 500_000_000 / (texts * analysis.context_length),
            batch: texts * (analysis.context_length - analysis.skip_first),
            analysis,
            side_width: side.d_sae,
            injection_batches: 100,
            procedural: ProceduralConfig::new(),
            seed: Seed(context.seed),
        }
    }

    /// Trainings of each width.
    fn seeds(&self) -> usize {
        match self.source {
            Source::Trained { seeds } => seeds,
            Source::Published { .. } => 1,
        }
    }

    /// dictionary_learning's TopK, but with one learning rate for all widths: its rule, which falls
    /// with the width, leaves the wide ones behind in a run this short.
    fn training(&self, config: &SaeConfig) -> SaeTrainingConfig {
        let rate = RateSchedule::DictionaryLearning {
            rate: 2e-3,
            warmup: self.steps / 20,
            decay_start: Some(self.steps - self.steps / 5),
            total: self.steps,
        };
        // The published limit of 10 million tokens is above the length of these runs.
        let dead = DeadRule::Tokens(100 * self.batch as u64);
        SaeTrainingConfig {
            rate,
            ..SaeTrainingConfig::topk(config, self.steps).with_dead(dead)
        }
    }

    fn job<'a>(
        &self,
        id: String,
        rows: &'a burn::tensor::Tensor<2>,
        content: &str,
        latents: usize,
        seed: Seed,
    ) -> Job<'a> {
        let config = SaeConfig::new(rows.dims()[1], latents, Activation::topk(self.k))
            .with_initialization(Initialization::FixedNorm(1.0));
        Job {
            id,
            supply: Supply::Rows(rows),
            content: content.into(),
            training: self.training(&config),
            config,
            steps: self.steps,
            batch: self.batch,
            seed,
        }
    }

    fn run(&self, context: &Context) -> anyhow::Result<Outcome> {
        let device = &context.device;
        let (host, tokens) = self.host(context)?;
        let length = self.analysis.context_length;
        let analysed = self.analysis.contexts + self.injection_batches * self.host_batch;
        // What follows the analysed text is left to train on.
        let unread = tokens.get(analysed * length..).unwrap_or_default().to_vec();
        let windows = Windows::new(tokens, length)?;
        let sites = Sites::before(self.layer, &host)?;
        let collection = data::Collection {
            analysis: &self.analysis,
            sites: &sites,
            batch: self.host_batch,
            unseen_batches: self.injection_batches,
            // Published autoencoders read activations as they are.
            scaled: matches!(self.source, Source::Trained { .. }),
        };
        let data = Data {
            unread,
            ..collection.run(&host, &windows, device)?
        };
        let split = self.analysis.split(self.seed.stream("split"))?;
        self.analyse(context, &host, &sites, &data, &split)
    }

    /// The host, and a text that it was not trained on.
    fn host(&self, context: &Context) -> anyhow::Result<(LanguageModel, Vec<u32>)> {
        let (host, tokens, _) = self.host.load(context, self.seed.stream("host"))?;
        Ok(match self.host {
            Host::Character { .. } => (host, split_text(&tokens, 0.1)?.1),
            Host::Hub { .. } => (host, tokens),
        })
    }

    /// Trains `jobs`, two at a time on two cores.
    fn train(&self, context: &Context, jobs: &[Job]) -> anyhow::Result<Vec<SparseAutoencoder>> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let progress = Progress::auto();
        jobs::run(jobs, workers, |job| {
            Ok(job.run(&context.out, &context.device, context.resume, &progress)?)
        })
    }

    /// Those at the analysed site, seed by seed, and one for each other site where they are
    /// trained here.
    fn autoencoders(
        &self,
        context: &Context,
        sites: &Sites,
        data: &Data,
    ) -> anyhow::Result<(Vec<SparseAutoencoder>, Vec<SparseAutoencoder>)> {
        let seeds = match &self.source {
            Source::Trained { seeds } => *seeds,
            Source::Published { release, ids } => {
                let options = HubOptions::from_env();
                let load = |id: &&str| {
                    let found = formats::from_pretrained(release, id, &options, &context.device)?;
                    Ok(found.sae)
                };
                return Ok((ids.iter().map(load).collect::<Result<_>>()?, Vec::new()));
            }
        };
        let mut jobs = Vec::new();
        for seed in 0..seeds {
            for &width in &self.widths {
                let id = format!("f{width}-seed{}", self.seed.0 + seed as u64);
                let seed = Seed(self.seed.0 + seed as u64);
                let site = sites.analysed.to_string();
                jobs.push(self.job(id, &data.x, &site, width, seed));
            }
        }
        for ((_, hook), rows) in sites.others.iter().zip(&data.sites) {
            let id = format!("site-{}", hook.to_string().replace('.', "-"));
            let content = hook.to_string();
            jobs.push(self.job(id, rows, &content, self.side_width, self.seed));
        }
        let mut saes = self.train(context, &jobs)?;
        let others = saes.split_off(seeds * self.widths.len());
        Ok((saes, others))
    }

    fn analyse(
        &self,
        context: &Context,
        host: &LanguageModel,
        sites: &Sites,
        data: &Data,
        split: &Split,
    ) -> anyhow::Result<Outcome> {
        let (saes, others) = self.autoencoders(context, sites, data)?;
        let last = self.widths.len() - 1;
        let mut widths = Vec::new();
        for saes in saes.chunks(self.widths.len()) {
            let of_seed: anyhow::Result<Vec<Analysed>> = saes
                .iter()
                .map(|sae| {
                    let (hook, skip) = (&sites.analysed, self.analysis.skip_first);
                    Ok(measure::analyse(sae, data, host, hook, split, skip, true)?)
                })
                .collect();
            widths.push(of_seed?);
        }
        let neighbours = widths
            .iter()
            .map(|widths| {
                let pairs = widths.windows(2);
                pairs
                    .map(|pair| Ok(measure::between(&pair[0], &pair[1], split)?))
                    .collect()
            })
            .collect::<anyhow::Result<Vec<Vec<CrossWidth>>>>()?;
        let control = (0..self.seeds())
            .map(|seed| Ok(measure::control(&data.x, split, self.seed.at(seed as u64))?))
            .collect::<anyhow::Result<Vec<f64>>>()?;

        let side = self
            .widths
            .iter()
            .position(|&width| width == self.side_width);
        let side = side.unwrap_or(0);
        let mut elsewhere = vec![(
            "same residual",
            measure::elsewhere(&saes[side], &data.x, &widths[0][side], split)?,
        )];
        for (((name, _), rows), sae) in sites.others.iter().zip(&data.sites).zip(&others) {
            elsewhere.push((
                name,
                measure::elsewhere(sae, rows, &widths[0][side], split)?,
            ));
        }
        let levels = [
            (0.0, 0.0, 0.0),
            (0.3, 0.0, 0.0),
            (0.0, 0.3, 0.0),
            (0.0, 0.0, 0.5),
            (0.3, 0.3, 0.25),
        ];
        let disturbed = levels
            .map(|(activation, reconstruction, ablated)| Disturbance {
                activation,
                reconstruction,
                ablated,
            })
            .iter()
            .map(|level| {
                let (plain, linear) =
                    measure::disturbed(&saes[side], data, level, split, self.seed)?;
                Ok((*level, plain, linear))
            })
            .collect::<anyhow::Result<_>>()?;
        let known = (0..self.seeds())
            .map(|seed| {
                let seed = Seed(self.seed.0 + seed as u64);
                Ok(measure::known(&self.procedural, seed, &context.device)?)
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Outcome {
            power_law: PowerLaw::fit(&self.mean_curve(&widths, |found| found.parts.fvu)).ok(),
            baselines: measure::baselines(&widths[0][last], data, split)?,
            components: match self.source {
                Source::Trained { .. } => {
                    self.components(context, data, &saes[side], &widths[0][side], split)?
                }
                Source::Published { .. } => {
                    let (sae, probe) = (&saes[side], &widths[0][side].parts.probe);
                    let site = (host, sites.analysed);
                    self.streamed_components(context, site, &data.unread, sae, probe)?
                }
            },
            alignment: measure::aligned(&saes[side], data, split)?,
            widths,
            neighbours,
            control,
            elsewhere,
            disturbed,
            known,
        })
    }

    /// FVU on held-out rows of autoencoders of the side width on each part of the error.
    fn components(
        &self,
        context: &Context,
        data: &Data,
        sae: &SparseAutoencoder,
        analysed: &Analysed,
        split: &Split,
    ) -> anyhow::Result<Vec<(ErrorComponent, f64)>> {
        let (reconstruction, _) = measure::encode(sae, &data.x)?;
        let mut targets = Vec::new();
        for component in ErrorComponent::ALL {
            let (x, reconstruction) = (data.x.clone(), reconstruction.clone());
            let target = component.target(x, reconstruction, &analysed.parts.probe)?;
            let target = data::unit_mean_square(target)?.0;
            let train = gather(target.clone(), split.training());
            targets.push((component, train, gather(target, split.held_out())));
        }
        let jobs: Vec<Job> = targets
            .iter()
            .map(|(component, train, _)| {
                let name = component.name();
                let id = format!("on-{}", name.replace(' ', "-"));
                self.job(id, train, name, self.side_width, self.seed)
            })
            .collect();
        let saes = self.train(context, &jobs)?;
        targets
            .iter()
            .zip(&saes)
            .map(|((component, _, held_out), sae)| {
                Ok((*component, measure::unexplained(sae, held_out)?))
            })
            .collect()
    }

    /// The same as the paper trains them: on a stream of new text, with the error of every batch
    /// taken anew, and scored on the last tenth of the text.
    fn streamed_components(
        &self,
        context: &Context,
        (host, hook): (&LanguageModel, HookPoint),
        tokens: &[u32],
        sae: &SparseAutoencoder,
        probe: &LinearFit,
    ) -> anyhow::Result<Vec<(ErrorComponent, f64)>> {
        let (train, held_out) = split_text(tokens, 0.1)?;
        let length = self.analysis.context_length;
        let texts = (self.batch / (length - self.analysis.skip_first)).max(1);
        let windows =
            HostSourceConfig::new(length, texts).with_drop_first(self.analysis.skip_first);
        let source = |tokens: &[u32], epochs: usize, component| {
            let reader = HookedModel::new(host, format!("{:?}", self.host), hook)?;
            let windows = windows.clone().with_epochs(epochs);
            let seed = self.seed.stream("windows");
            let source = HostSource::new(reader, tokens.to_vec(), &windows, seed)?;
            ErrorSource::new(source, sae, probe.clone(), component)
        };
        let (source, train) = (&source, &train);
        let mut config =
            SaeConfig::new(sae.config().d_in, self.side_width, Activation::topk(self.k));
        config.initialization = published_error_sae().initialization;
        let jobs: Vec<Job> = ErrorComponent::ALL
            .iter()
            .map(|&component| Job {
                id: format!("on-{}", component.name().replace(' ', "-")),
                supply: Supply::Stream(Box::new(move || {
                    // A text shorter than the run is read again.
                    Ok(Box::new(source(train, usize::MAX >> 32, component)?))
                })),
                content: component.name().into(),
                config: config.clone(),
                training: error_training(&config, self.steps, None),
                steps: self.steps,
                batch: self.batch,
                seed: self.seed,
            })
            .collect();
        let trained = self.train(context, &jobs)?;
        let score = |(component, sae): (&ErrorComponent, &SparseAutoencoder)| {
            let mut source = source(&held_out, 1, *component)?;
            Ok((*component, measure::unexplained_of(sae, &mut source)?))
        };
        ErrorComponent::ALL
            .iter()
            .zip(&trained)
            .map(score)
            .collect()
    }

    /// `(width, mean over seeds)`.
    fn mean_curve(
        &self,
        widths: &[Vec<Analysed>],
        value: impl Fn(&Analysed) -> f64,
    ) -> Vec<(f64, f64)> {
        let mean = |at: usize| {
            let values = widths.iter().map(|widths| value(&widths[at]));
            values.sum::<f64>() / widths.len() as f64
        };
        let curve = self.widths.iter().enumerate();
        curve.map(|(at, &width)| (width as f64, mean(at))).collect()
    }
}

#[cfg(test)]
mod tests;
