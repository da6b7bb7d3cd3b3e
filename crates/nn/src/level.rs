//! Loops for every instruction set, chosen at run time.

/// The instruction set that a loop runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// 512-bit vectors: AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the compiler makes of arrays.
    Portable,
}

impl Level {
    /// The best level of this machine.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every level that this machine can run.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.push(Self::Avx2);
            }
            if Self::detect() == Self::Avx512 {
                levels.push(Self::Avx512);
            }
        }
        levels
    }
}

/// Instantiates a loop for every instruction set and calls the one of `level`.
macro_rules! per_level {
    ($level:expr, $body:ident ( $($name:ident : $type:ty),* ) $(-> $out:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn avx512($($name: $type),*) $(-> $out)? { $body::<true>($($name),*) }
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($name: $type),*) $(-> $out)? { $body::<true>($($name),*) }
            // SAFETY: only `Level::detect` makes these levels, where the machine has them.
            match $level {
                $crate::level::Level::Avx512 => unsafe { avx512($($name),*) },
                $crate::level::Level::Avx2 => unsafe { avx2($($name),*) },
                $crate::level::Level::Portable => $body::<false>($($name),*),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = $level;
            $body::<false>($($name),*)
        }
    }};
}

pub(crate) use per_level;
