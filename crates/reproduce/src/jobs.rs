//! Independent runs, several at a time.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// `run` of every job, in the order of the jobs, `workers` at a time.
///
/// With several workers each keeps to one thread of its own: small kernels gain little from
/// threads, whole runs gain all.
///
/// # Errors
/// The error of the first job, in order, that failed; jobs that had not started then are not.
pub(crate) fn run<J: Sync, T: Send>(
    jobs: &[J],
    workers: usize,
    run: impl Fn(&J) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<anyhow::Result<T>>>> =
        Mutex::new(jobs.iter().map(|_| None).collect());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else {
                break;
            };
            let outcome = run(job);
            if outcome.is_err() {
                // The others finish the job they are at.
                next.store(jobs.len(), Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(outcome);
        }
    };
    if workers > 1 {
        std::thread::scope(|scope| -> anyhow::Result<()> {
            for _ in 0..workers {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
                let work = &work;
                scope.spawn(move || pool.install(work));
            }
            Ok(())
        })?;
    } else {
        work();
    }
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    // A job without an outcome was not started because an other one failed.
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u64> = (0..20).collect();
        for workers in [1, 3] {
            let squares = run(&jobs, workers, |job| Ok(job * job)).unwrap();
            assert_eq!(
                squares,
                jobs.iter().map(|job| job * job).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_failure_stops_the_rest() {
        let started = AtomicUsize::new(0);
        let jobs: Vec<usize> = (0..100).collect();
        let error = run(&jobs, 1, |job| {
            started.fetch_add(1, Ordering::Relaxed);
            anyhow::ensure!(*job != 4, "job {job} failed");
            Ok(())
        });
        assert_eq!(error.unwrap_err().to_string(), "job 4 failed");
        assert_eq!(started.load(Ordering::Relaxed), 5);
    }
}
