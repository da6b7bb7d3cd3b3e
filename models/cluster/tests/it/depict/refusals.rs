//! What `depict` refuses, and how it says so.

use super::*;

fn refusal(config: &DepictConfig) -> String {
    let error = config.init(&device()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn impossible_configurations_are_refused() {
    assert_eq!(
        refusal(&DepictConfig::for_images([1, 29, 29], 10)),
        "DepictConfig.image = [1, 29, 29]: the decoder must come back to the size of the image: with \
         kernel 4 and padding 0 it goes from [13, 13] to Some([28, 28]), not to [29, 29]"
    );
    assert_eq!(
        refusal(&DepictConfig::new([1, 28, 28], 1)),
        "DepictConfig.clusters = 1: must be at least 2"
    );
    assert_eq!(
        refusal(&DepictConfig::new([1, 3, 3], 10)),
        "DepictConfig.image = [1, 3, 3]: kernels [4, 5] with padding [0, 2] are larger than what they \
         are laid on"
    );
    assert_eq!(
        refusal(&DepictConfig::new([0, 28, 28], 10)),
        "DepictConfig.image = [0, 28, 28]: channels, height and width must be at least 1"
    );
    assert_eq!(
        refusal(&DepictConfig::mnist().with_maps([50, 0])),
        "DepictConfig.maps = [50, 0]: must be at least 1"
    );
    assert_eq!(
        refusal(&DepictConfig::mnist().with_dropout(Dropout::new().with_input(1.0))),
        "Dropout.input = 1.0: must be at least 0 and below 1"
    );
    assert_eq!(
        refusal(&DepictConfig::mnist().with_weights(LossWeights::new().with_hidden(-0.1))),
        "LossWeights.hidden = -0.1: must be finite and not negative"
    );
    for (config, text) in [
        (
            TrainingConfig::new().with_learning_rate(f64::NAN),
            "TrainingConfig.learning_rate = NaN: must be finite and above 0",
        ),
        (
            TrainingConfig::new().with_batch(0),
            "TrainingConfig.batch = 0: must be at least 1",
        ),
        (
            TrainingConfig::new().with_validation(1.0),
            "TrainingConfig.validation = 1.0: must be at least 0 and below 1",
        ),
        (
            TrainingConfig::new().with_warm_up(Budget::new(0, 1)),
            "TrainingConfig.warm_up.epochs = 0: must be at least 1",
        ),
    ] {
        assert_eq!(config.validate().unwrap_err().to_string(), text);
    }
}

#[test]
fn images_and_labels_that_do_not_fit_are_refused() {
    let device = device();
    let (images, labels) = bars(30);
    let model = drawn(&small(), 0, &device);
    let rule = "images is [2, 3, 16, 16]: must be [batch, 1, 16, 16] with at least one image";
    let colour = Tensor::<4>::zeros([2, 3, 16, 16], &device);
    for error in [
        model.encode(colour.clone()).unwrap_err(),
        model.probabilities(colour.clone()).unwrap_err(),
        model.reconstruct(colour.clone()).unwrap_err(),
        model.assign(colour).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), rule);
    }
    let error = model.decode(Tensor::zeros([2, 5], &device)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "embeddings is [2, 5]: must be [batch, 4]"
    );

    let division = Division {
        train: (0..30).collect(),
        validation: Vec::new(),
    };
    let config = settings();
    let start = |images: &Images, config: &TrainingConfig, model| {
        let training = DepictTraining::autoencoder(model, images, &division, config, Seed(0));
        training.err().unwrap().to_string()
    };
    assert_eq!(
        start(&images, &TrainingConfig::new(), &model),
        "the batch size is 100: must be at least 1 and at most the 30 examples there are"
    );
    let large = DepictConfig::new([1, 16, 16], 31).init(&device).unwrap();
    assert_eq!(
        start(&images, &config, &large),
        "the number of clusters is 31: must be at most the number of images, 30"
    );
    let other = DepictConfig::mnist().init(&device).unwrap();
    assert_eq!(
        start(&images, &config, &other),
        "the shape of an image is [1, 16, 16]: must be [1, 28, 28], as the network's"
    );
    let warm = |labels: &[usize]| {
        let training =
            DepictTraining::warm_up(&model, &images, &division, labels, &config, Seed(0));
        training.err().unwrap().to_string()
    };
    assert_eq!(
        warm(&labels[1..]),
        "the number of labels is 29: must be one for each of the 30 images"
    );
    let mut wrong = labels.clone();
    wrong[3] = 4;
    assert_eq!(
        warm(&wrong),
        "a label is 4: must be below the number of clusters, 4"
    );
}
