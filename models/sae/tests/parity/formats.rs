//! Published formats: what a checkpoint that the official code wrote must give.

use burn::tensor::{Device, Tensor};
use menagerie_core::{Error, Result};
use menagerie_parity::{Case, Check, Fixture};
use menagerie_sae::formats;
use serde::Deserialize;

pub const CASES: &[Case] = &[Case {
    slug: "sae-base",
    case: "checkpoint_io",
    run: checkpoint_io,
}];

#[derive(Deserialize)]
struct Settings {
    directories: Vec<String>,
}

fn checkpoint_io(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let settings: Settings = fixture.config()?;
    let folder = fixture
        .path()
        .parent()
        .ok_or_else(|| Error::format(fixture.path(), "lies in no folder"))?
        .join("checkpoints");
    let x = fixture.input::<2>("x", device)?;
    let z = fixture.input::<4>("z", device)?;
    for name in &settings.directories {
        let pretrained = formats::open(folder.join(name), device)?;
        let d_sae = pretrained.sae.config().d_sae;
        let acts = format!("{name}.feature_acts");
        let out = format!("{name}.sae_out");
        if pretrained.by_head {
            let [batch, tokens, heads, width] = z.dims();
            let output = pretrained.sae.forward(pretrained.rows(z.clone())?)?;
            let codes: Tensor<3> = output.codes.to_dense().reshape([batch, tokens, d_sae]);
            check.output(&acts, codes)?;
            let shape = [batch, tokens, heads, width];
            check.output(&out, output.reconstruction.reshape(shape))?;
        } else {
            let output = pretrained.sae.forward(pretrained.rows(x.clone())?)?;
            check.output(&acts, output.codes.to_dense())?;
            check.output(&out, output.reconstruction)?;
        }
    }
    Ok(())
}
