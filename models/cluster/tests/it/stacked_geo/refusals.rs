//! What `stacked-geo` refuses, and how it says so.

use super::*;

#[test]
fn impossible_configurations_are_refused() {
    let device = device();
    let refusal = |config: &StackConfig| config.init(&device).unwrap_err().to_string();
    assert_eq!(
        refusal(&StackConfig::new(1)),
        "AutoencoderConfig.inputs = 1: must be at least 2: there is nothing to compress in one band"
    );
    assert_eq!(
        refusal(&StackConfig::new(7).with_second(vec![10])),
        "StackConfig.second = [10]: needs at least two layers: the second is passed on"
    );
    assert_eq!(
        refusal(&StackConfig::new(7).with_third(vec![15, 0, 2])),
        "AutoencoderConfig.widths = [15, 0, 2]: needs at least one layer, each with at least one unit"
    );
    for (config, text) in [
        (
            StageConfig::new(0, 64),
            "StageConfig.epochs = 0: must be at least 1",
        ),
        (
            StageConfig::first().with_penalty(-1.0),
            "StageConfig.penalty = -1.0: must be finite and not negative",
        ),
        (
            StageConfig::first().with_learning_rate(f64::INFINITY),
            "StageConfig.learning_rate = inf: must be finite and above 0",
        ),
    ] {
        assert_eq!(config.validate().unwrap_err().to_string(), text);
    }
}

#[test]
fn scenes_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let device = device();
    let path = dir.path().join("empty.tif");
    let geo = GeoTags::default();
    // Nothing but nodata.
    write_bands(&path, Samples::U8(&[9; 24]), 2, [3, 4], &geo, Some(9.0)).unwrap();
    let empty = Scene::open(&[&path]).unwrap();
    let error = MinMax::fit(&ScenePixels::raw(&empty)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of pixels with data is 0: a scene must have a pixel with data in every band"
    );
    let error = KMeansConfig::new(2)
        .fit(&ScenePixels::raw(&empty), Seed(0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of points is 0: must be at least 1"
    );

    let (scene, _) = scene(dir.path());
    let scaling = MinMax::fit(&ScenePixels::raw(&scene)).unwrap();
    let error = ScenePixels::scaled(&empty, &scaling).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of bands is 2: must be 4, as those that were scaled"
    );
    let points = ScenePixels::scaled(&scene, &scaling).unwrap();
    let error = KMeansConfig::new(1_121).fit(&points, Seed(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of clusters is 1121: must be at most the number of points, 1120"
    );
    // A stack for other bands than the scene's.
    let features = Features::Stack(drawn(&StackConfig::landsat8(), 0), device.clone());
    let rule = "the number of bands is 4: must be 7, as those of the features";
    assert_eq!(features.points(&points).unwrap_err().to_string(), rule);
    let centres = KMeansConfig::new(2).fit(&points, Seed(0)).unwrap();
    let error = label(&scene, &scaling, &features, &centres).unwrap_err();
    assert_eq!(error.to_string(), rule);
    // One cluster is no map.
    let one = KMeansConfig::new(1).fit(&points, Seed(0)).unwrap();
    let error = label(&scene, &scaling, &Features::Bands(4), &one).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of clusters is 1: must be at least 2: a map of one class says nothing"
    );
    // Centres of the bands, but features of other numbers.
    let principal = Features::principal(Pca::fit(&points).unwrap(), 0.5);
    let error = label(&scene, &scaling, &principal, &centres).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the length of a point is 1: must be 4, as that of the centres"
    );
    let model = AutoencoderConfig::canonical(7).init(&device).unwrap();
    let error = AutoencoderTraining::new(&model, &[0.5; 13], &StageConfig::first(), Seed(0));
    assert_eq!(
        error.err().unwrap().to_string(),
        "the number of values is 13: must be a positive multiple of 7, the values of a pixel"
    );
    let stack = drawn(&StackConfig::landsat8(), 0);
    let error = stack.forward(Tensor::zeros([3, 4], &device)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pixels is [3, 4]: must be [batch, 7] with at least one pixel: the network was built for as \
         many bands"
    );
    let error = stack
        .ae1
        .encoder_layer(Tensor::zeros([3, 7], &device), 3)
        .unwrap_err();
    assert_eq!(error.to_string(), "the encoder layer is 3: must be below 3");
}
