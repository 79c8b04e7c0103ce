//! CONV2D on 16 and 32-bit integers: plain loops over output channels, which the compiler vectorises.

use super::conv2d::Plan;
use super::simd::{Simd, Work, vectorise};
use super::stage::Parameters;
use crate::abi::tile_program::element_type;

/// Carries out a checked plan whose input is S16 or S32. Sums wrap at 32 bits, as everywhere.
pub(super) fn run(plan: &Plan, parameters: &Parameters, memory: &mut [u8], simd: Simd) {
    let size = plan.stage.out_size() as usize;
    let mut sums = vec![0i32; plan.out_channels];
    for y in 0..plan.out_height {
        for x in 0..plan.out_width {
            let pixel = plan.input.start + y * plan.in_step.0 + x * plan.in_step.1;
            let out = plan.output.start + y * plan.out_step.0 + x * plan.out_step.1;
            vectorise(
                simd,
                Products {
                    plan,
                    pixel,
                    sums: &mut sums,
                    memory: &*memory,
                },
            );
            plan.stage
                .write(simd, parameters, &sums, 0, &mut memory[out..out + plan.out_channels * size]);
        }
    }
}

/// The sums of products of the pixel at byte `pixel`.
struct Products<'a> {
    plan: &'a Plan,
    pixel: usize,
    sums: &'a mut [i32],
    memory: &'a [u8],
}

impl Work for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.sums.fill(0);
        if self.plan.in_type == element_type::S16 {
            add_products::<2>(self.plan, self.memory, self.pixel, self.sums);
        } else {
            add_products::<4>(self.plan, self.memory, self.pixel, self.sums);
        }
    }
}

/// Adds the products of the pixel at byte `pixel`, with elements of `SIZE` bytes.
#[inline(always)]
fn add_products<const SIZE: usize>(plan: &Plan, memory: &[u8], pixel: usize, sums: &mut [i32]) {
    let mut rows = memory[plan.weights.clone()].chunks_exact(plan.out_channels * SIZE);
    for row in 0..plan.kernel_height {
        for column in 0..plan.kernel_width {
            let start = pixel + row * plan.tap_step.0 + column * plan.tap_step.1;
            let inputs = memory[start..start + plan.in_channels * SIZE].as_chunks::<SIZE>().0;
            for (&input, weights) in inputs.iter().zip(&mut rows) {
                let input = widen(input).wrapping_sub(plan.in_zero);
                for (sum, &weight) in sums.iter_mut().zip(weights.as_chunks::<SIZE>().0) {
                    *sum = sum.wrapping_add(input.wrapping_mul(widen(weight).wrapping_sub(plan.weight_zero)));
                }
            }
        }
    }
}

/// A little-endian signed element of 2 or 4 bytes.
#[inline(always)]
fn widen<const SIZE: usize>(bytes: [u8; SIZE]) -> i32 {
    let mut word = [if bytes[SIZE - 1] & 0x80 != 0 { 0xff } else { 0 }; 4];
    word[..SIZE].copy_from_slice(&bytes);
    i32::from_le_bytes(word)
}
