//! What somebody who waits for a training sees.

use crate::Metrics;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// Where progress goes: bars with rate and remaining time on a terminal, a plain line now and
/// then elsewhere, or nowhere. Clones share the screen, so that arms in parallel threads show one
/// bar each.
#[derive(Clone, Debug)]
pub struct Progress {
    kind: Kind,
    label: String,
}

#[derive(Clone, Debug)]
enum Kind {
    Bars(MultiProgress),
    Lines,
    Silent,
}

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Bars if standard error is a terminal, else lines.
    pub fn auto() -> Self {
        let kind = if std::io::stderr().is_terminal() {
            Kind::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
        } else {
            Kind::Lines
        };
        Self {
            kind,
            label: String::new(),
        }
    }

    /// Nothing at all, for tests and benchmarks.
    pub fn silent() -> Self {
        Self {
            kind: Kind::Silent,
            label: String::new(),
        }
    }

    /// The same screen under another name, e.g. `qlae wd=1 seed=0`.
    pub fn labelled(&self, label: impl Into<String>) -> Self {
        Self {
            kind: self.kind.clone(),
            label: label.into(),
        }
    }

    /// Starts to show steps `start..total`.
    pub(crate) fn task(&self, start: usize, total: usize) -> Task {
        let bar = match &self.kind {
            Kind::Bars(screen) => {
                let bar = screen.add(ProgressBar::new(total as u64).with_position(start as u64));
                // A template of constants: it always parses.
                if let Ok(style) = ProgressStyle::with_template(
                    "{prefix:32} {bar:24} {pos}/{len} {per_sec} eta {eta}  {wide_msg}",
                ) {
                    bar.set_style(style);
                }
                bar.set_prefix(self.label.clone());
                bar.reset_eta();
                Some(bar)
            }
            Kind::Lines | Kind::Silent => None,
        };
        Task {
            bar,
            lines: matches!(self.kind, Kind::Lines),
            label: self.label.clone(),
            start,
            total,
            began: Instant::now(),
            last_line: Instant::now(),
        }
    }
}

pub(crate) struct Task {
    bar: Option<ProgressBar>,
    lines: bool,
    label: String,
    start: usize,
    total: usize,
    began: Instant,
    last_line: Instant,
}

impl Task {
    /// `step` steps are done.
    pub fn step(&mut self, step: usize, metrics: &Metrics) {
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
        } else if self.lines && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            self.line(step, metrics);
        }
    }

    /// New metrics to show.
    pub fn metrics(&self, metrics: &Metrics) {
        if let Some(bar) = &self.bar {
            bar.set_message(metrics.to_string());
        }
    }

    pub fn finish(&self, step: usize, metrics: &Metrics) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        } else if self.lines {
            self.line(step, metrics);
        }
    }

    fn line(&self, step: usize, metrics: &Metrics) {
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = (step - self.start) as f64 / seconds.max(1e-9);
        let eta = (self.total.saturating_sub(step)) as f64 / rate.max(1e-9);
        let line = format!(
            "{}{}step {step}/{}  {metrics}  ({rate:.1} steps/s, eta {eta:.0} s)\n",
            self.label,
            if self.label.is_empty() { "" } else { ": " },
            self.total,
        );
        // A closed standard error must not end a training.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
