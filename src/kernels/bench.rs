//! How fast the kernels are here, against a loop of dot products that touches registers only.

use super::{Simd, execute};
use crate::abi::array::CORE_DATA_SIZE;
use crate::abi::tile_program::{element_type, opcode, requantise, tile_conv2d, tile_depthwise, tile_pack};
use std::time::{Duration, Instant};

/// Rows of A, the inner dimension and columns of B of the measured product: with B packed, they fill most of a tile.
const ROWS: u32 = 176;
const INNER: u32 = 384;
const COLUMNS: u32 = 64;

/// Multiply-accumulates per second, in units of 10**9.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    /// PACK and CONV2D of one tile's matrix product.
    pub kernel: f64,
    /// Independent `vpdpbusd` on registers; 0 without AVX-512.
    pub register_loop: f64,
}

/// Medians over `duration` of a tile's int8 matrix product (B packed from rows in tile memory, then CONV2D to S8) and of the
/// register loop, measured in turn on the calling thread.
pub fn gemm(duration: Duration) -> Gemm {
    let (packed, source, input, params, output) = (0, 0x6000, 0xC000, 0x1C800, 0x1C840);
    let pack = descriptor(
        tile_pack::SIZE,
        &[
            (tile_pack::INNER, INNER),
            (tile_pack::OUTER, COLUMNS),
            (tile_pack::IN_PITCH, COLUMNS),
        ],
    );
    let product = Layer {
        out: (1, ROWS),
        channels: (COLUMNS, INNER),
        kernel: (1, 1),
        in_type: element_type::U8,
    }
    .conv2d();
    let mut memory = tile();
    let mut samples = (Vec::new(), Vec::new());
    let end = Instant::now() + duration;
    while samples.0.len() < 3 || Instant::now() < end {
        samples.0.push(rate(u64::from(ROWS * INNER * COLUMNS), 16, || {
            let packed_cost = execute(opcode::PACK, &pack, &[source, packed], &mut memory, Simd::Avx512);
            let cost = execute(
                opcode::CONV2D,
                &product,
                &[input, packed, params, output],
                &mut memory,
                Simd::Avx512,
            );
            debug_assert!(packed_cost.is_ok() && cost.is_ok());
        }));
        samples.1.push(register_rate());
    }
    Gemm {
        kernel: median(samples.0),
        register_loop: median(samples.1),
    }
}

/// A convolution layer to measure.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Output rows and columns.
    pub out: (u32, u32),
    /// Output and input channels.
    pub channels: (u32, u32),
    /// Kernel rows and columns.
    pub kernel: (u32, u32),
    /// U8 or S8.
    pub in_type: u32,
}

impl Layer {
    fn conv2d(&self) -> Vec<u8> {
        let width = self.out.1 + self.kernel.1 - 1;
        descriptor(
            tile_conv2d::SIZE,
            &[
                (tile_conv2d::OUT_HEIGHT, self.out.0),
                (tile_conv2d::OUT_WIDTH, self.out.1),
                (tile_conv2d::OUT_CHANNELS, self.channels.0),
                (tile_conv2d::IN_CHANNELS, self.channels.1),
                (tile_conv2d::KERNEL_HEIGHT, self.kernel.0),
                (tile_conv2d::KERNEL_WIDTH, self.kernel.1),
                (tile_conv2d::STRIDE_HEIGHT, 1),
                (tile_conv2d::STRIDE_WIDTH, 1),
                (tile_conv2d::DILATION_HEIGHT, 1),
                (tile_conv2d::DILATION_WIDTH, 1),
                (tile_conv2d::IN_ROW_PITCH, width * self.channels.1),
                (tile_conv2d::IN_PIXEL_PITCH, self.channels.1),
                (tile_conv2d::OUT_ROW_PITCH, self.out.1 * self.channels.0),
                (tile_conv2d::OUT_PIXEL_PITCH, self.channels.0),
                (tile_conv2d::IN_TYPE, self.in_type),
                (tile_conv2d::OUT_TYPE, element_type::S8),
                (tile_conv2d::REQUANTISE, requantise::SCALE),
                (tile_conv2d::CLAMP_LOW, (-128i32).cast_unsigned()),
                (tile_conv2d::CLAMP_HIGH, 127),
            ],
        )
    }

    fn depthwise(&self) -> Vec<u8> {
        let width = self.out.1 + self.kernel.1 - 1;
        descriptor(
            tile_depthwise::SIZE,
            &[
                (tile_depthwise::OUT_HEIGHT, self.out.0),
                (tile_depthwise::OUT_WIDTH, self.out.1),
                (tile_depthwise::CHANNELS, self.channels.0),
                (tile_depthwise::KERNEL_HEIGHT, self.kernel.0),
                (tile_depthwise::KERNEL_WIDTH, self.kernel.1),
                (tile_depthwise::STRIDE_HEIGHT, 1),
                (tile_depthwise::STRIDE_WIDTH, 1),
                (tile_depthwise::DILATION_HEIGHT, 1),
                (tile_depthwise::DILATION_WIDTH, 1),
                (tile_depthwise::IN_ROW_PITCH, width * self.channels.0),
                (tile_depthwise::IN_PIXEL_PITCH, self.channels.0),
                (tile_depthwise::OUT_ROW_PITCH, self.out.1 * self.channels.0),
                (tile_depthwise::OUT_PIXEL_PITCH, self.channels.0),
                (tile_depthwise::IN_TYPE, self.in_type),
                (tile_depthwise::OUT_TYPE, element_type::S8),
                (tile_depthwise::REQUANTISE, requantise::SCALE),
                (tile_depthwise::CLAMP_LOW, (-128i32).cast_unsigned()),
                (tile_depthwise::CLAMP_HIGH, 127),
            ],
        )
    }

    /// Median 10**9 multiply-accumulates per second of the layer as one instruction at `simd`, requantised to S8. In-channels 0
    /// make it depthwise. 0 if it does not fit a tile.
    pub fn rate(&self, simd: Simd, duration: Duration) -> f64 {
        let depthwise = self.channels.1 == 0;
        let (code, bytes) = if depthwise {
            (opcode::DEPTHWISE, self.depthwise())
        } else {
            (opcode::CONV2D, self.conv2d())
        };
        let depth = self.channels.1.max(1);
        let taps = self.kernel.0 * self.kernel.1;
        let in_bytes =
            (self.out.0 + self.kernel.0 - 1) * (self.out.1 + self.kernel.1 - 1) * if depthwise { self.channels.0 } else { depth };
        let weights = in_bytes.next_multiple_of(64);
        let params = (weights + taps * depth.next_multiple_of(4) * self.channels.0.next_multiple_of(16)).next_multiple_of(64);
        let operands = [0, weights, params, params + 64];
        let macs = u64::from(self.out.0 * self.out.1) * u64::from(taps * self.channels.0) * u64::from(depth);
        let mut memory = tile();
        if execute(code, &bytes, &operands, &mut memory, simd).is_err() {
            return 0.0;
        }
        let mut samples = Vec::new();
        let end = Instant::now() + duration;
        while samples.len() < 3 || Instant::now() < end {
            samples.push(rate(macs, 8, || {
                let cost = execute(code, &bytes, &operands, &mut memory, simd);
                debug_assert!(cost.is_ok());
            }));
        }
        median(samples)
    }
}

/// A descriptor with the given words set.
fn descriptor(size: usize, words: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for &(offset, word) in words {
        bytes[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// A tile's memory with something in it, from a fixed generator; it starts at a multiple of 64 as the core's does.
fn tile() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..CORE_DATA_SIZE).map(next).collect()
}

/// 10**9 operations per second of `repeats` calls that do `operations` each.
fn rate(operations: u64, repeats: u64, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..repeats {
        call();
    }
    (operations * repeats) as f64 / start.elapsed().as_secs_f64() / 1e9
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// 10**9 multiply-accumulates per second of dot products on registers.
fn register_rate() -> f64 {
    const STEPS: u64 = 20_000;
    #[cfg(target_arch = "x86_64")]
    if Simd::Avx512.supported() == Simd::Avx512 {
        // SAFETY: `supported` gives Avx512 only if the processor has the features that the loop is compiled for.
        return rate(STEPS * 16 * 64, 1, || unsafe { register_loop(STEPS) });
    }
    0.0
}

/// `steps` times 16 independent dot products of 64 bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn register_loop(steps: u64) {
    use std::arch::x86_64::*;
    let inputs = std::hint::black_box(_mm512_set1_epi32(0x0102_0304));
    let weights = std::hint::black_box(_mm512_set1_epi32(0x0506_0708));
    let mut sums = [_mm512_setzero_si512(); 16];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, inputs, weights);
        }
    }
    std::hint::black_box(sums);
}
