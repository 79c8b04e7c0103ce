//! Every family at every SIMD level this processor has: equal bytes for random instructions, faults for bad ones. What the bytes should
//! be is checked from Python (tests/unit/test_kernels_*.py), against numpy.

use super::{Cost, Simd, descriptor_size, execute, operand_count};
use crate::abi::tile_program::{
    element_type, fault, opcode, requantise, tile_binary, tile_conv2d, tile_convert, tile_copy, tile_depthwise, tile_fill,
    tile_normalise, tile_pack, tile_pool, tile_reduce, tile_requantise, tile_table, tile_unary,
};

const MEMORY: usize = 64 * 1024;
const ROUNDS: u32 = 200;
const CODES: [u32; 13] = [
    opcode::CONV2D,
    opcode::DEPTHWISE,
    opcode::POOL,
    opcode::REDUCE,
    opcode::REQUANTISE,
    opcode::BINARY,
    opcode::TABLE,
    opcode::CONVERT,
    opcode::COPY,
    opcode::FILL,
    opcode::PACK,
    opcode::UNARY,
    opcode::NORMALISE,
];

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// A number in `low..=high`.
    fn within(&mut self, low: u32, high: u32) -> u32 {
        low + self.next() % (high - low + 1)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }

    fn memory(&mut self) -> Vec<u8> {
        (0..MEMORY).map(|_| self.next() as u8).collect()
    }
}

/// A descriptor under construction.
struct Descriptor(Vec<u8>);

impl Descriptor {
    fn new(code: u32) -> Self {
        Self(vec![0; descriptor_size(code).expect("an arithmetic opcode")])
    }

    fn set(&mut self, offset: usize, value: u32) -> &mut Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// A random output stage, whose first field is at `at`; gives the bytes of an element.
    fn stage(&mut self, at: usize, random: &mut Random) -> u32 {
        let offset = |field: usize| at + field - tile_requantise::OUT_TYPE;
        let mode = random.of(&[requantise::NONE, requantise::SCALE, requantise::SCALE, requantise::SRS]);
        let kinds = [
            element_type::U8,
            element_type::S8,
            element_type::S16,
            element_type::S32,
            element_type::F32,
        ];
        let kind = match mode {
            requantise::NONE => element_type::S32,
            requantise::SRS => random.of(&kinds[..4]),
            _ => random.of(&kinds),
        };
        let mut flags = random.within(0, 1);
        flags |= match mode {
            requantise::NONE => random.of(&[0, 8]),
            requantise::SCALE => random.of(&[0, 2]),
            _ => 0,
        };
        if kind <= element_type::S8 {
            flags |= random.of(&[0, 4]);
        }
        let high = random.of(&[100, 255, i32::MAX]);
        self.set(at, kind)
            .set(offset(tile_requantise::REQUANTISE), mode)
            .set(offset(tile_requantise::OUT_FLAGS), flags);
        self.set(offset(tile_requantise::OUT_ZERO), random.of(&[0, 1, 100]));
        self.set(
            offset(tile_requantise::CLAMP_LOW),
            random.of(&[i32::MIN, -100, 3]).cast_unsigned(),
        );
        self.set(offset(tile_requantise::CLAMP_HIGH), high.cast_unsigned());
        self.set(offset(tile_requantise::SRS_SHIFT), random.within(0, 20));
        self.set(
            offset(tile_requantise::SRS_MODE),
            random.of(&[0, 1, 2, 3, 8, 9, 10, 11, 12, 13]) | random.of(&[0, 1, 3]) << 8,
        );
        [1, 1, 2, 4, 4][kind as usize]
    }
}

/// Runs the instruction at every level; all must agree in bytes and outcome, and a fault must leave memory alone.
fn agree(code: u32, descriptor: &[u8], operands: &[u32], memory: &[u8]) -> Result<Cost, u32> {
    let mut expected = memory.to_vec();
    let outcome = execute(code, descriptor, operands, &mut expected, Simd::Scalar);
    assert!(outcome.is_ok() || expected == memory, "opcode {code:#x} faulted and wrote");
    for level in Simd::available() {
        let mut got = memory.to_vec();
        assert_eq!(
            execute(code, descriptor, operands, &mut got, level),
            outcome,
            "{level:?} of opcode {code:#x}"
        );
        let differs = got.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{level:?} of opcode {code:#x}, descriptor {descriptor:?}");
    }
    outcome
}

/// Operands a quarter of memory apart: what random descriptors describe is smaller.
const QUARTERS: [u32; 4] = [0, 0x4000, 0x8000, 0xC000];

/// A random valid descriptor.
fn valid(code: u32, random: &mut Random) -> Descriptor {
    let mut descriptor = Descriptor::new(code);
    let (rows, channels) = (random.within(1, 9), random.within(1, 70));
    let d = &mut descriptor;
    match code {
        opcode::CONV2D => {
            let kind = random.of(&[element_type::U8, element_type::S8, element_type::S16, element_type::S32]);
            let size = [1, 1, 2, 4][kind as usize];
            let depth = random.within(1, 13);
            let pixel = (depth * size).next_multiple_of(4) + random.of(&[0, 0, 4]);
            let kernel = (random.within(1, 3), random.within(1, 3));
            let out_size = d.stage(tile_conv2d::OUT_TYPE, random);
            let width = random.within(1, 15);
            d.set(tile_conv2d::OUT_HEIGHT, random.within(1, 3))
                .set(tile_conv2d::OUT_WIDTH, width);
            d.set(tile_conv2d::OUT_CHANNELS, channels)
                .set(tile_conv2d::IN_CHANNELS, depth);
            d.set(tile_conv2d::KERNEL_HEIGHT, kernel.0)
                .set(tile_conv2d::KERNEL_WIDTH, kernel.1);
            d.set(tile_conv2d::STRIDE_HEIGHT, random.within(1, 2))
                .set(tile_conv2d::STRIDE_WIDTH, random.within(1, 2));
            d.set(tile_conv2d::DILATION_HEIGHT, random.within(1, 2))
                .set(tile_conv2d::DILATION_WIDTH, random.within(1, 2));
            d.set(tile_conv2d::IN_ROW_PITCH, pixel * 40)
                .set(tile_conv2d::IN_PIXEL_PITCH, pixel);
            d.set(tile_conv2d::OUT_ROW_PITCH, width * channels * out_size)
                .set(tile_conv2d::OUT_PIXEL_PITCH, channels * out_size);
            d.set(tile_conv2d::IN_TYPE, kind)
                .set(tile_conv2d::IN_ZERO, random.within(0, 255));
            d.set(tile_conv2d::WEIGHT_ZERO, random.of(&[0, 0, 0, 5]));
        }
        opcode::DEPTHWISE | opcode::POOL => {
            let width = random.within(1, 15);
            let pool = code == opcode::POOL;
            let mut out_size = d.stage(if pool { tile_pool::OUT_TYPE } else { tile_depthwise::OUT_TYPE }, random);
            d.set(tile_pool::OUT_HEIGHT, random.within(1, 4))
                .set(tile_pool::OUT_WIDTH, width)
                .set(tile_pool::CHANNELS, channels);
            d.set(tile_pool::KERNEL_HEIGHT, random.within(1, 3))
                .set(tile_pool::KERNEL_WIDTH, random.within(1, 7));
            d.set(tile_pool::STRIDE_HEIGHT, random.within(1, 2))
                .set(tile_pool::STRIDE_WIDTH, random.within(1, 3));
            d.set(tile_pool::DILATION_HEIGHT, random.within(1, 2))
                .set(tile_pool::DILATION_WIDTH, random.of(&[1, 1, 2]));
            d.set(tile_pool::IN_ROW_PITCH, channels * 20)
                .set(tile_pool::IN_PIXEL_PITCH, channels);
            d.set(tile_pool::IN_TYPE, random.within(0, 1));
            if pool {
                let kind = random.within(0, 1);
                d.set(tile_pool::KIND, kind).set(tile_pool::IN_ZERO, 9);
                if kind == 0 {
                    out_size = 1;
                    d.set(tile_pool::OUT_FLAGS, random.of(&[0, 4]));
                }
            } else {
                d.set(tile_depthwise::IN_ZERO, random.within(0, 255));
            }
            d.set(tile_pool::OUT_ROW_PITCH, width * channels * out_size)
                .set(tile_pool::OUT_PIXEL_PITCH, channels * out_size);
        }
        opcode::REDUCE => {
            let kind = random.of(&[element_type::U8, element_type::S8, element_type::S32]);
            d.stage(tile_reduce::OUT_TYPE, random);
            d.set(tile_reduce::ROWS, rows)
                .set(tile_reduce::CHANNELS, channels)
                .set(tile_reduce::IN_PITCH, channels * 4);
            d.set(tile_reduce::IN_TYPE, kind).set(tile_reduce::IN_ZERO, 3);
        }
        opcode::REQUANTISE => {
            let out_size = d.stage(tile_requantise::OUT_TYPE, random);
            d.set(tile_requantise::ROWS, rows).set(tile_requantise::CHANNELS, channels);
            d.set(tile_requantise::IN_PITCH, channels * 4)
                .set(tile_requantise::OUT_PITCH, channels * out_size);
            d.set(tile_requantise::IN_TYPE, element_type::S32);
        }
        opcode::BINARY => {
            let kinds = [element_type::U8, element_type::S8, element_type::F32, element_type::BF16];
            d.set(tile_binary::ROWS, rows).set(tile_binary::CHANNELS, channels);
            for pitch in [tile_binary::A_PITCH, tile_binary::B_PITCH, tile_binary::OUT_PITCH] {
                d.set(pitch, channels * 4);
            }
            for kind in [tile_binary::A_TYPE, tile_binary::B_TYPE, tile_binary::OUT_TYPE] {
                d.set(kind, random.of(&kinds));
            }
            for scale in [tile_binary::A_SCALE, tile_binary::B_SCALE, tile_binary::OUT_SCALE] {
                d.set(scale, random.of(&[0.02f32, 1.0, 0.0]).to_bits());
            }
            d.set(tile_binary::OPERATION, random.within(0, 5))
                .set(tile_binary::BROADCAST, random.within(0, 3));
            d.set(tile_binary::OUT_ZERO, 5).set(tile_binary::CLAMP_HIGH, 120);
        }
        opcode::TABLE => {
            d.set(tile_table::ROWS, rows)
                .set(tile_table::ROW_ELEMENTS, channels)
                .set(tile_table::IN_PITCH, channels);
            d.set(tile_table::OUT_PITCH, channels * 4)
                .set(tile_table::OUT_TYPE, random.of(&[element_type::U8, element_type::F32]));
        }
        opcode::CONVERT => {
            let float = [element_type::F32, element_type::BF16];
            let kinds = [
                element_type::U8,
                element_type::S8,
                element_type::S16,
                element_type::F32,
                element_type::BF16,
            ];
            let (from, to) = if random.within(0, 1) == 0 {
                (random.of(&float), random.of(&kinds))
            } else {
                (random.of(&kinds), random.of(&float))
            };
            d.set(tile_convert::PIXELS, rows * 7)
                .set(tile_convert::CHANNELS, channels.min(20));
            d.set(tile_convert::IN_PIXEL_PITCH, 80).set(tile_convert::IN_CHANNEL_PITCH, 4);
            d.set(tile_convert::OUT_PIXEL_PITCH, 4)
                .set(tile_convert::OUT_CHANNEL_PITCH, 256);
            d.set(tile_convert::IN_TYPE, from)
                .set(tile_convert::OUT_TYPE, to)
                .set(tile_convert::SCALE, 0.3f32.to_bits());
            d.set(tile_convert::ZERO, 7)
                .set(tile_convert::CLAMP_HIGH, 100)
                .set(tile_convert::FILL_CHANNELS, random.within(0, 22));
        }
        opcode::COPY => {
            d.set(tile_copy::ELEMENT_SIZE, random.of(&[1, 2, 4]));
            for (axis, (size, stride)) in [(rows, 1024), (3, 256), (5, 32), (7, 4)].into_iter().enumerate() {
                d.set(tile_copy::SIZES + 4 * axis, size)
                    .set(tile_copy::OUT_STRIDES + 4 * axis, stride);
                d.set(tile_copy::IN_STRIDES + 4 * axis, random.of(&[0, stride, 4 * axis as u32]));
            }
        }
        opcode::FILL => {
            d.set(tile_fill::ROWS, rows)
                .set(tile_fill::ROW_BYTES, channels)
                .set(tile_fill::PITCH, channels + 3);
        }
        opcode::PACK => {
            d.set(tile_pack::INNER, rows * 3)
                .set(tile_pack::OUTER, channels)
                .set(tile_pack::IN_PITCH, 200);
            d.set(tile_pack::TRANSPOSED, random.within(0, 1));
        }
        opcode::UNARY => {
            let kinds = [element_type::F32, element_type::BF16];
            d.set(tile_unary::ROWS, rows)
                .set(tile_unary::CHANNELS, channels)
                .set(tile_unary::IN_PITCH, channels * 4);
            d.set(tile_unary::OUT_PITCH, channels * 4)
                .set(tile_unary::OPERATION, random.within(0, 12));
            d.set(tile_unary::IN_TYPE, random.of(&kinds))
                .set(tile_unary::OUT_TYPE, random.of(&kinds));
            d.set(tile_unary::ALPHA, random.of(&[-2.0f32, 3.0]).to_bits())
                .set(tile_unary::BETA, 1.5f32.to_bits());
        }
        _ => {
            let kinds = [element_type::F32, element_type::BF16];
            d.set(tile_normalise::ROWS, rows)
                .set(tile_normalise::CHANNELS, channels)
                .set(tile_normalise::IN_PITCH, channels * 4);
            d.set(tile_normalise::OUT_PITCH, channels * 4)
                .set(tile_normalise::KIND, random.within(0, 4));
            d.set(tile_normalise::IN_TYPE, random.of(&kinds))
                .set(tile_normalise::OUT_TYPE, random.of(&kinds));
        }
    }
    descriptor
}

#[test]
fn levels_agree_on_random_instructions() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for code in CODES {
        let mut done = 0;
        for _ in 0..ROUNDS {
            let descriptor = valid(code, &mut random);
            let memory = random.memory();
            let operands = &QUARTERS[4 - operand_count(code).expect("an arithmetic opcode")..];
            match agree(code, &descriptor.0, operands, &memory) {
                Ok(cost) => done += u32::from(cost.elements > 0),
                // A random zero point or bound may not fit the random type.
                Err(fault) => assert_eq!(fault, fault::BAD_DESCRIPTOR, "opcode {code:#x}: {:?}", descriptor.0),
            }
        }
        assert!(done > ROUNDS / 2, "opcode {code:#x} ran {done} times");
    }
}

#[test]
fn operands_at_the_end_of_memory_run_and_past_it_fault() {
    let mut random = Random(77);
    for code in CODES {
        let count = operand_count(code).expect("an arithmetic opcode");
        let descriptor = loop {
            let descriptor = valid(code, &mut random);
            if agree(code, &descriptor.0, &QUARTERS[4 - count..], &random.memory()).is_ok() {
                break descriptor;
            }
        };
        let memory = random.memory();
        let last = (0..MEMORY as u32 / 4).rev().map(|word| word * 4).find(|&address| {
            let mut operands = QUARTERS[4 - count..].to_vec();
            operands[count - 1] = address;
            execute(code, &descriptor.0, &operands, &mut memory.clone(), Simd::Scalar).is_ok()
        });
        let last = last.expect("the output fits somewhere");
        let mut operands = QUARTERS[4 - count..].to_vec();
        operands[count - 1] = last;
        assert!(agree(code, &descriptor.0, &operands, &memory).is_ok());
        operands[count - 1] = last + 4;
        assert_eq!(
            agree(code, &descriptor.0, &operands, &memory),
            Err(fault::DATA_BOUNDS),
            "opcode {code:#x}"
        );
        operands[count - 1] = u32::MAX - 3;
        assert_eq!(
            agree(code, &descriptor.0, &operands, &memory),
            Err(fault::DATA_BOUNDS),
            "opcode {code:#x}"
        );
        if count > 1 && code != opcode::BINARY {
            operands[count - 1] = operands[0] + 4;
            assert_eq!(
                agree(code, &descriptor.0, &operands, &memory),
                Err(fault::OVERLAP),
                "opcode {code:#x}"
            );
        }
    }
}

#[test]
fn extreme_descriptors_are_answered() {
    let mut random = Random(99);
    let extremes = [0, 1, 1, 1, 2, 3, 4, 16, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    for code in CODES {
        let count = operand_count(code).expect("an arithmetic opcode");
        let memory = random.memory();
        for round in 0..2000 {
            let mut descriptor = valid(code, &mut random);
            let words = descriptor.0.len() / 4;
            for _ in 0..=round % 5 {
                let word = random.within(0, words as u32 - 1) as usize;
                descriptor.set(4 * word, random.of(&extremes));
            }
            let operands: Vec<u32> = (0..count)
                .map(|index| random.of(&[QUARTERS[index], 0, 4, 0xFFFC, u32::MAX]))
                .collect();
            if let Err(fault) = execute(code, &descriptor.0, &operands, &mut memory.clone(), Simd::detect()) {
                let known = [fault::BAD_DESCRIPTOR, fault::DATA_BOUNDS, fault::MISALIGNED, fault::OVERLAP];
                assert!(known.contains(&fault), "opcode {code:#x} gives fault {fault}");
            }
        }
    }
}

#[test]
fn what_is_no_instruction_faults() {
    assert_eq!(
        execute(opcode::HALT, &[], &[], &mut [], Simd::Scalar),
        Err(fault::UNKNOWN_OPCODE)
    );
    assert_eq!(execute(u32::MAX, &[], &[], &mut [], Simd::Scalar), Err(fault::UNKNOWN_OPCODE));
    assert_eq!(
        execute(opcode::FILL, &[0; 15], &[0], &mut [], Simd::Scalar),
        Err(fault::BAD_LENGTH)
    );
    assert_eq!(
        execute(opcode::FILL, &[0; 16], &[], &mut [], Simd::Scalar),
        Err(fault::BAD_LENGTH)
    );
}
