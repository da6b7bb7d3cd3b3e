//! VGG with norms (Simonyan and Zisserman, arXiv:1409.1556), for images of 32².

use super::config::VggConfig;
use super::layer::{ConvSizes, Factors, LodConv, LodLinear};
use super::model::{check, halve};
use super::network::{Factored, Network, Ranks};
use super::norm::Mode;
use super::resnet::NormedConv;
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use menagerie_core::Result;

/// Convolutions of 3×3, each with norm and ReLU; after every size the largest of 2×2 pixels.
#[derive(Module, Debug)]
pub struct Vgg {
    /// The convolutions of each size, with biases.
    pub sizes: Vec<Vec<NormedConv>>,
    /// The last pixel to class scores.
    pub classifier: LodLinear,
    #[module(skip)]
    config: VggConfig,
}

impl VggConfig {
    /// A dense network with freshly drawn weights.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) reports.
    pub fn init(&self, device: &Device) -> Result<Vgg> {
        self.validate()?;
        let mut inputs = self.channels;
        let mut sizes = Vec::with_capacity(self.widths.len());
        for widths in &self.widths {
            let mut convs = Vec::with_capacity(widths.len());
            for width in widths {
                convs.push(NormedConv {
                    conv: LodConv::new(ConvSizes::new(inputs, *width, 3).with_padding(1), device)?,
                    norm: self.norm.init(*width, device),
                });
                inputs = *width;
            }
            sizes.push(convs);
        }
        Ok(Vgg {
            sizes,
            classifier: LodLinear::new(inputs, self.classes, true, device),
            config: self.clone(),
        })
    }
}

impl Vgg {
    /// What the network was built from.
    pub fn config(&self) -> &VggConfig {
        &self.config
    }

    /// All convolutions, from the image on, under their official names and those of their norms: the
    /// official code counts norms, ReLUs and poolings too.
    pub(super) fn convs(&self) -> Vec<([String; 2], &NormedConv)> {
        let (mut convs, mut at) = (Vec::new(), 0);
        for size in &self.sizes {
            for conv in size {
                convs.push(([at, at + 1].map(|at| format!("features.{at}")), conv));
                at += 3;
            }
            at += 1;
        }
        convs
    }
}

impl Network for Vgg {
    fn run(&self, images: Tensor<4>, ranks: &Ranks, mode: Mode) -> Result<Tensor<2>> {
        check(&images, self.config.channels, self.config.image())?;
        let (mut x, mut layer) = (images, 0);
        for size in &self.sizes {
            let last = size.len().saturating_sub(1);
            for (at, conv) in size.iter().enumerate() {
                x = conv.forward(x, ranks.of(layer), mode);
                // Halving does it for the last one.
                if at < last {
                    x = relu(x);
                }
                layer += 1;
            }
            x = halve(x);
        }
        Ok(self
            .classifier
            .forward(x.flatten::<2>(1, 3), ranks.of(layer)))
    }

    fn applications(&self) -> Vec<usize> {
        let image = self.config.image();
        let sizes = self.sizes.iter().enumerate();
        let convs = sizes.flat_map(|(at, size)| vec![(image >> at) * (image >> at); size.len()]);
        convs.chain([1]).collect()
    }
}

impl Factored for Vgg {
    fn layers(&self) -> Vec<(String, &Factors)> {
        let convs = self.convs().into_iter();
        convs
            .map(|([name, _], conv)| (name, &conv.conv.factors))
            .chain([("classifier".to_owned(), &self.classifier.factors)])
            .collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Factors> {
        let convs = self.sizes.iter_mut().flatten();
        convs
            .map(|conv| &mut conv.conv.factors)
            .chain([&mut self.classifier.factors])
            .collect()
    }

    fn own_statistics(&mut self) {
        for conv in self.sizes.iter_mut().flatten() {
            conv.norm.own_statistics();
        }
    }

    fn others(&self) -> usize {
        let convs = self.sizes.iter().flatten();
        convs.map(|conv| 2 * conv.norm.weight.dims()[0]).sum()
    }
}
