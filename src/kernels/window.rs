//! The sliding window that DEPTHWISE and POOL share: every channel by itself.

use super::fields::Fields;
use super::operand::{MAX_WORK, apart, extent, place, require, work};
use super::stage::LANES;
use crate::abi::tile_program::tile_pool as field;
use std::ops::Range;

/// A window whose input and output lie in memory, the outputs apart from each other.
pub(super) struct Window {
    pub out_height: usize,
    pub out_width: usize,
    pub channels: usize,
    pub kernel_height: usize,
    pub kernel_width: usize,
    pub stride: (usize, usize),
    pub dilation: (usize, usize),
    /// Bytes between input rows and between input pixels.
    pub pitch: (usize, usize),
    /// Bytes between the inputs of output rows and of output pixels.
    pub in_step: (usize, usize),
    /// Bytes between the inputs of kernel rows and of kernel columns.
    pub tap_step: (usize, usize),
    pub out_step: (usize, usize),
    pub input: Range<usize>,
    pub output: Range<usize>,
}

impl Window {
    /// Reads the fields from out_height to out_pixel_pitch, which DEPTHWISE and POOL have at the same offsets (so `field` is POOL's).
    /// Input elements are bytes, output elements `out_size` bytes.
    pub(super) fn parse(fields: Fields, memory: &[u8], input: u32, output: u32, out_size: u64) -> Result<Self, u32> {
        let (out_height, out_width) = (fields.count(field::OUT_HEIGHT)?, fields.count(field::OUT_WIDTH)?);
        let channels = fields.count(field::CHANNELS)?;
        let (kernel_height, kernel_width) = (fields.count(field::KERNEL_HEIGHT)?, fields.count(field::KERNEL_WIDTH)?);
        let stride = (fields.count(field::STRIDE_HEIGHT)?, fields.count(field::STRIDE_WIDTH)?);
        let dilation = (fields.count(field::DILATION_HEIGHT)?, fields.count(field::DILATION_WIDTH)?);
        let pitch = (fields.pitch(field::IN_ROW_PITCH), fields.pitch(field::IN_PIXEL_PITCH));
        let out_step = (fields.pitch(field::OUT_ROW_PITCH), fields.pitch(field::OUT_PIXEL_PITCH));
        let in_step = (stride.0.saturating_mul(pitch.0), stride.1.saturating_mul(pitch.1));
        let tap_step = (dilation.0.saturating_mul(pitch.0), dilation.1.saturating_mul(pitch.1));
        work(&[out_height, out_width, channels, kernel_height, kernel_width])?;
        // Every tap costs at least a short vector's time, whatever the channels.
        require(work(&[out_height, out_width, kernel_height, kernel_width])? <= MAX_WORK / 16)?;
        super::operand::aligned(&[out_step.0, out_step.1], out_size)?;
        let taps = [
            (out_height, in_step.0),
            (out_width, in_step.1),
            (kernel_height, tap_step.0),
            (kernel_width, tap_step.1),
        ];
        let input = place(memory, input, extent(&taps, channels), 1)?;
        let pixels = [(out_height, out_step.0), (out_width, out_step.1)];
        apart(&pixels, channels * out_size)?;
        let output = place(memory, output, extent(&pixels, channels * out_size), out_size)?;
        Ok(Self {
            out_height: out_height as usize,
            out_width: out_width as usize,
            channels: channels as usize,
            kernel_height: kernel_height as usize,
            kernel_width: kernel_width as usize,
            stride: (stride.0 as usize, stride.1 as usize),
            dilation: (dilation.0 as usize, dilation.1 as usize),
            pitch: (pitch.0 as usize, pitch.1 as usize),
            in_step: (in_step.0 as usize, in_step.1 as usize),
            tap_step: (tap_step.0 as usize, tap_step.1 as usize),
            out_step: (out_step.0 as usize, out_step.1 as usize),
            input,
            output,
        })
    }

    /// First input byte of the window of output (`y`, `x`).
    #[inline(always)]
    pub(super) fn source(&self, y: usize, x: usize) -> usize {
        self.input.start + y * self.in_step.0 + x * self.in_step.1
    }

    /// First byte of output (`y`, `x`).
    #[inline(always)]
    pub(super) fn target(&self, y: usize, x: usize) -> usize {
        self.output.start + y * self.out_step.0 + x * self.out_step.1
    }

    /// Taps of the window.
    pub(super) fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// Elements written.
    pub(super) fn elements(&self) -> u64 {
        (self.out_height * self.out_width * self.channels) as u64
    }
}

/// 16 bytes from `at` on: a fixed width, so that loops over channels become vector instructions. Lanes behind a family's last channel
/// hold whatever lies there; see [`widened`].
#[inline(always)]
pub(super) fn lanes(memory: &[u8], at: usize) -> [u8; LANES] {
    let mut bytes = [0; LANES];
    bytes.copy_from_slice(&memory[at..at + LANES]);
    bytes
}

/// A copy of memory with room behind it, if an input that ends at byte `end` can't be read by [`lanes`] as it lies.
pub(super) fn widened(memory: &[u8], end: usize) -> Option<Vec<u8>> {
    (end + LANES > memory.len()).then(|| [memory, &[0; LANES]].concat())
}
