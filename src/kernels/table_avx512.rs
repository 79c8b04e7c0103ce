//! The 256-entry byte table with VBMI: two 128-byte permutes and a choice by the index's top bit.

use std::arch::x86_64::*;

/// A table in four registers.
#[derive(Clone, Copy)]
pub(super) struct Table([__m512i; 4]);

impl Table {
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn new(table: &[u8; 256]) -> Self {
        // SAFETY: each load reads 64 of the table's 256 bytes; loadu needs no alignment.
        let quarter = |index: usize| unsafe { _mm512_loadu_si512(table.as_ptr().add(64 * index).cast()) };
        Self([quarter(0), quarter(1), quarter(2), quarter(3)])
    }

    /// The entries that 64 unsigned bytes select.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    #[inline]
    pub(super) fn select(self, index: __m512i) -> __m512i {
        let low = _mm512_permutex2var_epi8(self.0[0], index, self.0[1]);
        let high = _mm512_permutex2var_epi8(self.0[2], index, self.0[3]);
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high)
    }
}

/// Replaces every byte by its entry.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn look_up(table: &[u8; 256], bytes: &mut [u8]) {
    let table = Table::new(table);
    let (blocks, tail) = bytes.as_chunks_mut::<64>();
    for block in blocks {
        // SAFETY: the load and the store touch the 64 bytes of `block`; neither needs alignment.
        unsafe {
            let index = _mm512_loadu_si512(block.as_ptr().cast());
            _mm512_storeu_si512(block.as_mut_ptr().cast(), table.select(index));
        }
    }
    let mask = (1u64 << tail.len()) - 1;
    // SAFETY: the mask lets the load and the store touch the `tail.len()` (under 64) bytes of `tail` only.
    unsafe {
        let index = _mm512_maskz_loadu_epi8(mask, tail.as_ptr().cast());
        _mm512_mask_storeu_epi8(tail.as_mut_ptr().cast(), mask, table.select(index));
    }
}
