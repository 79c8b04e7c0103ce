//! Four rows of bytes woven into 16 lanes of 4 bytes, the form that byte dot products take.

use std::arch::x86_64::*;

/// Where byte c * 4 + r of the result, byte c of row r, lies in four rows of 16 bytes.
const ORDER: [u8; 64] = {
    let mut order = [0; 64];
    let mut index = 0;
    while index < 64 {
        order[index] = (index % 4 * 16 + index / 4) as u8;
        index += 1;
    }
    order
};

/// `rows` (the first `count` of four; the others are zero) of `columns` bytes, `pitch` bytes apart, as [column][row], zeros filled in.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VBMI; `columns` (at most 16) bytes of each of the `count` rows can be read.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
#[inline]
pub(super) unsafe fn interleave(rows: *const u8, pitch: usize, count: usize, columns: usize) -> __m512i {
    // SAFETY: the mask, and leaving out rows beyond `count`, limit the loads to what the caller vouches for; ORDER is 64 bytes.
    unsafe {
        let mask = ((1u32 << columns) - 1) as u16;
        let load = |row: usize| {
            if row >= count {
                _mm_setzero_si128()
            } else if columns == 16 {
                _mm_loadu_si128(rows.add(row * pitch).cast())
            } else {
                _mm_maskz_loadu_epi8(mask, rows.add(row * pitch).cast())
            }
        };
        let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(0)), load(1));
        let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(2)), load(3));
        let all = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
        _mm512_permutexvar_epi8(_mm512_loadu_si512(ORDER.as_ptr().cast()), all)
    }
}

/// PACK of rows: B[k][n] at `source`, rows `pitch` bytes apart, as [n / 16][k / 4][16][4] at `target`.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VBMI; `inner` rows of `outer` bytes can be read, and both rounded up (to 4 and 16) written.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(super) unsafe fn pack(source: *const u8, pitch: usize, inner: usize, outer: usize, mut target: *mut u8) {
    for group in (0..outer).step_by(16) {
        for quad in (0..inner).step_by(4) {
            // SAFETY: these rows and columns lie within the matrix, and one register is written for every 16 by 4 of them.
            unsafe {
                let woven = interleave(
                    source.add(quad * pitch + group),
                    pitch,
                    (inner - quad).min(4),
                    (outer - group).min(16),
                );
                _mm512_storeu_si512(target.cast(), woven);
                target = target.add(64);
            }
        }
    }
}
