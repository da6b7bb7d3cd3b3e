//! Systems also train under burn-train's own `SupervisedTraining`, on one device and on several.

use crate::{Data, Pairs, Regression};
use burn::data::dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher};
use burn::data::dataset::InMemDataset;
use burn::optim::SgdConfig;
use burn::tensor::Device;
use burn::train::{Learner, SupervisedTraining, metric::LossMetric};
use menagerie_train::execution_strategy;
use std::sync::Arc;

#[derive(Clone)]
struct ToPairs(Arc<Data>);

impl Batcher<usize, Pairs> for ToPairs {
    fn batch(&self, indices: Vec<usize>, device: &Device) -> Pairs {
        self.0.pairs(&indices, device)
    }
}

fn train_on(devices: usize) -> Vec<f32> {
    let device = Device::flex().autodiff();
    let data = Arc::new(Data::new());
    let loader = || -> Arc<dyn DataLoader<Pairs>> {
        DataLoaderBuilder::new(ToPairs(data.clone()))
            .batch_size(8)
            .set_device(device.clone())
            .build(InMemDataset::new((0..64).collect::<Vec<usize>>()))
    };
    let dir = tempfile::tempdir().unwrap();
    let strategy = execution_strategy(&vec![device.clone(); devices]).unwrap();
    let result = SupervisedTraining::new(dir.path(), loader(), loader())
        .metric_train_numeric(LossMetric::new())
        .with_training_strategy(strategy.into())
        .with_application_logger(None)
        .num_epochs(30)
        .launch(Learner::new(
            Regression::new(&device),
            SgdConfig::new().init(),
            0.1,
        ));
    assert!(result.error.is_none(), "{:?}", result.error);
    result.model.weights()
}

#[test]
fn burn_train_runs_the_same_model_on_one_device_and_on_two() {
    for devices in [1, 2] {
        let weights = train_on(devices);
        let target = [1.0, -2.0, 0.5];
        assert!(
            weights.iter().zip(target).all(|(w, t)| (w - t).abs() < 0.2),
            "{devices} devices: {weights:?}"
        );
    }
    assert!(execution_strategy(&[]).is_err());
}
