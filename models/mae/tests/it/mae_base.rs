//! mae-base: counts, behaviour, training, weights and refusals.

use crate::{device, num_params};
use menagerie_mae::mae_base::{ClassifierConfig, MaeConfig, Start, VitConfig};

#[test]
fn published_configurations_have_the_published_number_of_parameters() {
    let device = device();
    for (config, whole, encoder, classifier) in [
        (MaeConfig::base(), 111_907_840, 85_798_656, 86_567_656),
        (MaeConfig::large(), 329_541_888, 303_301_632, 304_326_632),
        (MaeConfig::huge(), 657_074_508, 630_764_800, 632_045_800),
    ] {
        // Parameters are drawn when they are first used: none of these takes memory.
        let mae = config.init(&device).unwrap();
        assert_eq!(num_params(&mae), whole);
        let vit = config
            .encoder
            .init(Start::Pretraining, true, &device)
            .unwrap();
        assert_eq!(num_params(&vit), encoder);
        let model = ClassifierConfig::imagenet(config.encoder)
            .init(&device)
            .unwrap();
        assert_eq!(num_params(&model), classifier);
    }
    assert_eq!(VitConfig::base().tokens(), 196);
    assert_eq!(MaeConfig::base().visible(), 49);
}
