//! From official tensors to an autoencoder.

use crate::sae::{Activation, GateWeights, SaeConfig, SparseAutoencoder};
use burn::{
    module::Param,
    tensor::{Device, Tensor, TensorData},
};
use menagerie_core::{Error, Result};
use menagerie_hub::{Scalar, StateDict};
use std::{cell::RefCell, path::Path};

/// The tensors of a file; each is to be read, ignored by name, or refused.
///
/// A tensor that is read is taken out, so that a large file is not twice in memory.
pub(super) struct Weights {
    tensors: RefCell<StateDict>,
}

/// The parameters of an autoencoder in its own layout.
#[derive(Default)]
pub(super) struct Parts {
    /// `[d_sae, d_in]`.
    pub encoder: Option<Tensor<2>>,
    pub b_enc: Option<Tensor<1>>,
    /// `[d_sae, d_out]`.
    pub decoder: Option<Tensor<2>>,
    pub b_dec: Option<Tensor<1>>,
    pub threshold: Option<Tensor<1>>,
    /// In the order r_mag, b_gate, b_mag.
    pub gate: Option<[Tensor<1>; 3]>,
    /// `[d_out, d_in]`.
    pub skip: Option<Tensor<2>>,
}

impl Weights {
    /// The tensors of a file, floating-point ones as `f32`.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            tensors: RefCell::new(StateDict::open(path)?.into_f32()?),
        })
    }

    /// A plain value beside the tensors.
    pub fn scalar(&self, key: &str) -> Option<Scalar> {
        self.tensors.borrow().scalar(key).cloned()
    }

    pub fn has(&self, key: &str) -> bool {
        self.tensors.borrow().get(key).is_some()
    }

    /// Leaves `keys` unread on purpose.
    pub fn ignore(&self, keys: &[&str]) {
        for key in keys {
            self.tensors.borrow_mut().remove(key);
        }
    }

    /// The first of `keys` that there is.
    pub fn any<'a>(&self, keys: &[&'a str]) -> Option<&'a str> {
        keys.iter().copied().find(|key| self.has(key))
    }

    /// The length of a vector, which is left to be read.
    pub fn length(&self, key: &str) -> Result<usize> {
        let shape = self
            .tensors
            .borrow()
            .get(key)
            .map(|data| data.shape().to_vec());
        match shape.as_deref() {
            Some([length]) => Ok(*length),
            Some(other) => {
                Err(self.refuse(format!("`{key}` has shape {other:?}, expected a vector")))
            }
            None => Err(self.missing(key)),
        }
    }

    fn take(&self, key: &str) -> Result<TensorData> {
        let data = self.tensors.borrow_mut().remove(key);
        data.ok_or_else(|| self.missing(key))
    }

    fn missing(&self, key: &str) -> Error {
        self.refuse(format!("`{key}` is missing"))
    }

    /// The matrix `key` as `[rows, columns]`, turned where the file holds it the other way.
    pub fn matrix(&self, key: &str, shape: [usize; 2], device: &Device) -> Result<Tensor<2>> {
        self.laid_out(key, shape, false, device)
    }

    /// The matrix `key`, which the format holds as `[columns, rows]`, as `[rows, columns]`.
    pub fn transposed(&self, key: &str, shape: [usize; 2], device: &Device) -> Result<Tensor<2>> {
        self.laid_out(key, shape, true, device)
    }

    fn laid_out(
        &self,
        key: &str,
        shape: [usize; 2],
        usually_turned: bool,
        device: &Device,
    ) -> Result<Tensor<2>> {
        let data = self.take_floats(key)?;
        let turned = [shape[1], shape[0]];
        // A square matrix is as the format says; for others the shape decides.
        let turn = match data.shape().to_vec() {
            found if found == shape && found == turned => usually_turned,
            found if found == shape => false,
            found if found == turned => true,
            found => {
                return Err(self.refuse(format!(
                    "`{key}` has shape {found:?}, expected {shape:?} or {turned:?}"
                )));
            }
        };
        let tensor = Tensor::<2>::from_data(data, device);
        Ok(if turn { tensor.transpose() } else { tensor })
    }

    pub fn vector(&self, key: &str, width: usize, device: &Device) -> Result<Tensor<1>> {
        Ok(Tensor::from_data(self.values(key, width)?, device))
    }

    /// The numbers of a vector.
    pub fn values(&self, key: &str, width: usize) -> Result<TensorData> {
        let data = self.take_floats(key)?;
        let found = data.shape().to_vec();
        if found != [width] {
            return Err(self.refuse(format!("`{key}` has shape {found:?}, expected [{width}]")));
        }
        Ok(data)
    }

    /// A tensor of one element.
    pub fn number(&self, key: &str) -> Result<f64> {
        let data = self.take(key)?;
        let mut values = data.iter::<f64>();
        match (values.next(), values.next()) {
            (Some(value), None) if value.is_finite() => Ok(value),
            _ => Err(self.refuse(format!("`{key}` is {data}, expected one finite number"))),
        }
    }

    fn take_floats(&self, key: &str) -> Result<TensorData> {
        let data = self.take(key)?;
        match data.dtype().is_float() {
            true => Ok(data),
            false => Err(self.refuse(format!(
                "`{key}` holds {:?}, expected floating-point numbers",
                data.dtype()
            ))),
        }
    }

    /// Refuses a file with tensors that nothing has read.
    pub fn finish(&self) -> Result<()> {
        let tensors = self.tensors.borrow();
        let left: Vec<String> = tensors.keys().map(|key| format!("`{key}`")).collect();
        match left.is_empty() {
            true => Ok(()),
            false => Err(self.refuse(format!("unexpected: {}", left.join(", ")))),
        }
    }

    pub fn refuse(&self, problem: String) -> Error {
        Error::Weights {
            origin: self.tensors.borrow().origin().to_owned(),
            module: "SparseAutoencoder".to_owned(),
            problem,
        }
    }
}

impl Parts {
    /// An autoencoder of these parameters, whose shapes were checked when they were read.
    pub fn assemble(self, config: SaeConfig, device: &Device) -> Result<SparseAutoencoder> {
        config.validate()?;
        let missing = |part: &str| {
            Error::input(
                format!("the parameter `{part}`"),
                "missing",
                "every part of the configuration must be given",
            )
        };
        // Of one latent, so that nothing large is drawn only to be replaced.
        let mut sae = SaeConfig::new(1, 1, Activation::Relu).init(device)?;
        let param = |tensor: Option<Tensor<1>>| tensor.map(Param::from_tensor);
        let encoder = self.encoder.ok_or_else(|| missing("encoder"))?;
        let decoder = self.decoder.ok_or_else(|| missing("decoder"))?;
        sae.encoder = Param::from_tensor(encoder);
        sae.decoder = Param::from_tensor(decoder);
        sae.b_dec = Param::from_tensor(self.b_dec.ok_or_else(|| missing("b_dec"))?);
        sae.b_enc = param(self.b_enc);
        sae.skip = self.skip.map(Param::from_tensor);
        // A magnitude below 0 never passes, so a threshold below 0 is one of 0.
        sae.threshold = param(self.threshold.map(|threshold| threshold.clamp_min(0.0)));
        sae.gate = self.gate.map(|[r_mag, b_gate, b_mag]| GateWeights {
            r_mag: Param::from_tensor(r_mag),
            b_gate: Param::from_tensor(b_gate),
            b_mag: Param::from_tensor(b_mag),
        });
        if matches!(
            config.activation,
            Activation::TopK { .. } | Activation::BatchTopK { .. }
        ) {
            let unset = Tensor::<1>::from_data([-1f32], device);
            sae.batch_threshold = Some(Param::from_tensor(unset).set_require_grad(false));
        }
        Ok(sae.reconfigured(config))
    }
}

/// The numbers of a parameter for a file.
pub(super) fn data<const D: usize>(tensor: Tensor<D>) -> TensorData {
    tensor.into_data().convert::<f32>()
}
