//! Which instruction set the kernels use.

use std::sync::OnceLock;

/// An instruction-set level; every level gives the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simd {
    /// What every x86-64 (or other) processor has.
    Scalar,
    /// 256-bit integer and float vectors.
    Avx2,
    /// 512-bit vectors with byte dot products (VNNI) and byte permutes (VBMI).
    Avx512,
}

impl Simd {
    /// The level to use: the best this processor has, or the one that the environment variable `FAUXDNA_SIMD` names (`scalar`,
    /// `avx2`, `avx512`), lowered to what the processor has. Any other value of the variable is ignored. Read once per process.
    pub fn detect() -> Self {
        static LEVEL: OnceLock<Simd> = OnceLock::new();
        *LEVEL.get_or_init(
            || match std::env::var("FAUXDNA_SIMD").ok().as_deref().and_then(Self::from_name) {
                Some(level) => level.supported(),
                None => Self::best(),
            },
        )
    }

    /// The level called `name` in `FAUXDNA_SIMD`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "scalar" => Some(Self::Scalar),
            "avx2" => Some(Self::Avx2),
            "avx512" => Some(Self::Avx512),
            _ => None,
        }
    }

    /// The level's name in `FAUXDNA_SIMD`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The levels that this processor has, lowest first.
    pub fn available() -> Vec<Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512]
            .into_iter()
            .filter(|&level| level <= Self::best())
            .collect()
    }

    /// This level, or the highest below it that this processor has.
    pub(super) fn supported(self) -> Self {
        self.min(Self::best())
    }

    fn best() -> Self {
        static LEVEL: OnceLock<Simd> = OnceLock::new();
        *LEVEL.get_or_init(Self::probe)
    }

    #[cfg(target_arch = "x86_64")]
    fn probe() -> Self {
        let avx2 = is_x86_feature_detected!("avx2");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512vbmi");
        match (avx2, avx512) {
            (true, true) => Self::Avx512,
            (true, false) => Self::Avx2,
            _ => Self::Scalar,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn probe() -> Self {
        Self::Scalar
    }
}

/// A loop that the compiler vectorises once per level. Implementations of `run`, and all they call, are `#[inline(always)]`.
///
/// Rust neither fuses nor reorders float operations, so every level computes the same values.
pub(super) trait Work {
    /// What the loop returns.
    type Output;
    /// The loop.
    fn run(self) -> Self::Output;
}

/// Runs `work` compiled for `simd`, which must come from [`Simd::supported`].
pub(super) fn vectorise<W: Work>(simd: Simd, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2<W: Work>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512<W: Work>(work: W) -> W::Output {
            work.run()
        }
        match simd.supported() {
            // SAFETY: `supported` gives a level only if the processor has its features.
            Simd::Avx512 => return unsafe { avx512(work) },
            // SAFETY: as above.
            Simd::Avx2 => return unsafe { avx2(work) },
            Simd::Scalar => {}
        }
    }
    let _ = simd;
    work.run()
}
