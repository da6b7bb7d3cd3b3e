use super::{Affine, Image, Interpolation, colour};
use menagerie_core::Result;

/// What an [`Operation`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum OperationKind {
    /// Each channel stretched over all values.
    AutoContrast,
    /// Each channel's histogram flattened.
    Equalize,
    /// Light and dark swapped.
    Invert,
    /// Turned counter-clockwise by the argument in degrees.
    Rotate,
    /// Only the argument's number of most significant bits kept.
    Posterize,
    /// Values from the argument on inverted.
    Solarize,
    /// The argument added to values below 128.
    SolarizeAdd,
    /// Blended with grey: 0 is grey, 1 the image.
    Color,
    /// Blended with the mean luma: 0 is flat, 1 the image.
    Contrast,
    /// Blended with black: 0 is black, 1 the image.
    Brightness,
    /// Blended with the smoothed image: 0 is smooth, 1 the image.
    Sharpness,
    /// Sheared along rows by the argument, columns per row.
    ShearX,
    /// Sheared along columns by the argument, rows per column.
    ShearY,
    /// Moved by the argument times the width.
    TranslateX,
    /// Moved by the argument times the height.
    TranslateY,
}

impl OperationKind {
    /// The fifteen operations of RandAugment, in timm's order.
    pub const ALL: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
    ];
}

/// An operation with everything that was drawn for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operation {
    /// What it does.
    pub kind: OperationKind,
    /// How strongly, in the unit of the kind.
    pub argument: f64,
    /// How the geometric ones find values between pixels.
    pub interpolation: Interpolation,
}

impl Operation {
    /// `image` under the operation; `fill` has the value of each channel outside of it.
    ///
    /// # Errors
    /// [`Error::Input`](menagerie_core::Error::Input) where a colour operation meets neither 1 nor
    /// 3 channels, where the argument is not finite, or where `fill` does not match the channels.
    pub fn apply(&self, image: &Image, fill: &[u8]) -> Result<Image> {
        let argument = self.argument;
        let affine = |map: Affine| map.apply(image, self.interpolation, fill);
        let [height, width] = image.size();
        Ok(match self.kind {
            OperationKind::AutoContrast => colour::auto_contrast(image),
            OperationKind::Equalize => colour::equalize(image),
            OperationKind::Invert => colour::invert(image),
            OperationKind::Posterize => colour::posterize(image, argument as u32),
            OperationKind::Solarize => colour::solarize(image, argument as u32),
            OperationKind::SolarizeAdd => colour::solarize_add(image, argument as u8),
            OperationKind::Color => colour::color(image, argument)?,
            OperationKind::Contrast => colour::contrast(image, argument)?,
            OperationKind::Brightness => colour::brightness(image, argument),
            OperationKind::Sharpness => colour::sharpness(image, argument),
            OperationKind::Rotate => affine(Affine::rotate(argument, image.size()))?,
            OperationKind::ShearX => affine(Affine::shear_x(argument))?,
            OperationKind::ShearY => affine(Affine::shear_y(argument))?,
            OperationKind::TranslateX => affine(Affine::translate(0.0, argument * width as f64))?,
            OperationKind::TranslateY => affine(Affine::translate(argument * height as f64, 0.0))?,
        })
    }
}
