//! What both sides agree on. Generated from `python/fauxdna/abi` by `python -m fauxdna.abi._rust`; do not edit.

#![allow(dead_code)]

/// A bit-field of a block of 32-bit words.
#[derive(Clone, Copy, Debug)]
pub struct Bits {
    pub word: usize,
    pub low: u32,
    pub width: u32,
}

impl Bits {
    /// The field's value in `words`, zero-extended.
    #[inline]
    pub const fn get(self, words: &[u32]) -> u32 {
        let shifted = words[self.word] >> self.low;
        if self.width == 32 { shifted } else { shifted & ((1 << self.width) - 1) }
    }

    /// The field's value in `words`, sign-extended.
    #[inline]
    pub const fn get_signed(self, words: &[u32]) -> i32 {
        let unused = 32 - self.width;
        ((self.get(words) << unused) as i32) >> unused
    }

    /// `words` with the field set to `value`, whose excess bits are dropped.
    #[inline]
    pub const fn set(self, words: &mut [u32], value: u32) {
        let mask = if self.width == 32 { u32::MAX } else { (1 << self.width) - 1 };
        words[self.word] = (words[self.word] & !(mask << self.low)) | ((value & mask) << self.low);
    }
}


/// From `fauxdna.abi.array`.
#[rustfmt::skip]
pub mod array {
    pub const COLUMN_SHIFT: u32 = 25;
    pub const ROW_SHIFT: u32 = 20;
    pub const COLUMNS: u32 = 3;
    pub const SHIM_ROW: u32 = 0;
    pub const MEM_ROW: u32 = 1;
    pub const FIRST_CORE_ROW: u32 = 6;
    pub const CORE_ROWS: u32 = 4;
    pub const HALF_STRIDE: u32 = 0x40000;
    pub const CORE_DATA_SIZE: u32 = 0x20000;
    pub const CORE_PROGRAM_SIZE: u32 = 0x8000;
    pub const MEM_TILE_SIZE: u32 = 0x300000;
    pub const UC_PROGRAM_SIZE: u32 = 0x8000;
    pub const UC_PRIVATE_SIZE: u32 = 0x4000;
    pub const UC_SHARED_SIZE: u32 = 0x8000;
    pub mod tile_kind {
        pub const SHIM: u32 = 0;
        pub const MEM: u32 = 1;
        pub const CORE: u32 = 2;
    }
    pub const CORE_DATA: u32 = 0;
    pub const CORE_PROGRAM: u32 = 0x80000;
    pub const CORE_CONTROL: u32 = 0xa3000;
    pub const CORE_STATUS: u32 = 0xa3004;
    pub const CORE_PC: u32 = 0xa3008;
    pub const CORE_FAULT: u32 = 0xa300c;
    pub const CORE_CONTROL_ENABLE: u32 = 1;
    pub const CORE_CONTROL_RESET: u32 = 2;
    pub const CORE_STATUS_ENABLED: u32 = 1;
    pub const CORE_STATUS_RESET: u32 = 2;
    pub const CORE_STATUS_HALTED: u32 = 0x10000;
    pub const CORE_STATUS_FAULT: u32 = 0x20000;
    pub const CORE_COUNTER_CONTROL: u32 = 0xa2500;
    pub const CORE_COUNTER: u32 = 0xa2520;
    pub const CORE_COUNTERS: u32 = 12;
    pub const CORE_BD: u32 = 0xac000;
    pub const CORE_BD_STRIDE: u32 = 32;
    pub const CORE_BDS: u32 = 16;
    pub const CORE_CHANNEL_CONTROL: u32 = 0xace00;
    pub const CORE_CHANNEL_STATUS: u32 = 0xacf00;
    pub const CORE_S2MM: u32 = 2;
    pub const CORE_MM2S: u32 = 1;
    pub const CORE_LOCK_VALUE: u32 = 0xae000;
    pub const CORE_LOCK_REQUEST: u32 = 0xb0000;
    pub const CORE_LOCKS: u32 = 16;
    pub const MEM_DATA: u32 = 0;
    pub const MEM_DATA_SIZE: u32 = 0x8000;
    pub const MEM_BD_S2MM: u32 = 0x8000;
    pub const MEM_BD_MM2S: u32 = 0x8c00;
    pub const MEM_BD_STRIDE: u32 = 48;
    pub const MEM_BDS_PER_CHANNEL: u32 = 16;
    pub const MEM_CHANNEL_BD_STRIDE: u32 = 768;
    pub const MEM_S2MM_CONTROL: u32 = 0x9e00;
    pub const MEM_S2MM_START: u32 = 0x9e04;
    pub const MEM_MM2S_CONTROL: u32 = 0x9e60;
    pub const MEM_MM2S_START: u32 = 0x9e64;
    pub const MEM_CHANNEL_STRIDE: u32 = 8;
    pub const MEM_S2MM_STATUS: u32 = 0x9ed0;
    pub const MEM_MM2S_STATUS: u32 = 0x9f00;
    pub const MEM_S2MM: u32 = 8;
    pub const MEM_MM2S: u32 = 10;
    pub const MEM_S2MM_PER_HALF: u32 = 4;
    pub const MEM_MM2S_PER_HALF: u32 = 5;
    pub const MEM_LOCK_VALUE: u32 = 0x10000;
    pub const MEM_LOCK_REQUEST: u32 = 0x18000;
    pub const MEM_LOCKS_PER_HALF: u32 = 32;
    pub const MEM_LOCKS: u32 = 64;
    pub const MEM_LOCK_WINDOW: u32 = 448;
    pub const MEM_WINDOW: u32 = 0x2000000;
    pub const SHIM_BD: u32 = 0x18000;
    pub const SHIM_BD_STRIDE: u32 = 48;
    pub const SHIM_BDS: u32 = 16;
    pub const SHIM_S2MM_CONTROL: u32 = 0x18540;
    pub const SHIM_S2MM_START: u32 = 0x18544;
    pub const SHIM_MM2S_CONTROL: u32 = 0x18550;
    pub const SHIM_MM2S_START: u32 = 0x18554;
    pub const SHIM_CHANNEL_STRIDE: u32 = 8;
    pub const SHIM_S2MM_STATUS: u32 = 0x18570;
    pub const SHIM_MM2S_STATUS: u32 = 0x18580;
    pub const SHIM_S2MM_PER_HALF: u32 = 1;
    pub const SHIM_MM2S_PER_HALF: u32 = 2;
    pub const SHIM_S2MM: u32 = 2;
    pub const SHIM_MM2S: u32 = 4;
    pub const SHIM_LOCK_VALUE: u32 = 0x10000;
    pub const SHIM_LOCK_REQUEST: u32 = 0x14000;
    pub const SHIM_LOCKS: u32 = 16;
    pub const SHIM_ADDRESS_OFFSET: u32 = 0x80000000;
    pub const LOCK_STRIDE: u32 = 16;
    pub const LOCK_REQUEST_STRIDE: u32 = 1024;
    pub const LOCK_REQUEST_ACQUIRE: u32 = 512;
    pub const LOCK_MIN: i32 = -64;
    pub const LOCK_MAX: u32 = 63;
    pub const START_QUEUE_DEPTH: u32 = 16;
    pub const SWITCH_PORTS: u32 = 32;
    pub const SWITCH_SLOTS: u32 = 4;
    pub const CORE_MASTER_DMA: u32 = 2;
    pub const CORE_MASTER_SOUTH: [u32; 4] = [6, 7, 9, 10];
    pub const CORE_MASTER_NORTH: u32 = 16;
    pub const CORE_SLAVE_DMA: u32 = 1;
    pub const CORE_SLAVE_SOUTH: u32 = 5;
    pub const CORE_SLAVE_NORTH: [u32; 4] = [17, 18, 20, 21];
    pub const MEM_MASTER_DMA: u32 = 0;
    pub const MEM_MASTER_SOUTH: [u32; 4] = [10, 11, 13, 14];
    pub const MEM_MASTER_NORTH: u32 = 16;
    pub const MEM_SLAVE_DMA: [u32; 10] = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10];
    pub const MEM_SLAVE_SOUTH: [u32; 4] = [14, 15, 18, 19];
    pub const MEM_SLAVE_NORTH: [u32; 4] = [22, 23, 25, 26];
    pub const SHIM_MASTER_DMA: [u32; 2] = [0, 2];
    pub const SHIM_MASTER_NORTH: [u32; 4] = [16, 17, 19, 20];
    pub const SHIM_SLAVE_DMA: u32 = 0;
    pub const SHIM_SLAVE_NORTH: u32 = 18;
    pub const SWITCH_LATERAL: u32 = 2;
    pub const CORE_MASTER_WEST: u32 = 12;
    pub const CORE_MASTER_EAST: u32 = 24;
    pub const CORE_SLAVE_WEST: u32 = 13;
    pub const CORE_SLAVE_EAST: u32 = 23;
    pub const SHIM_MASTER_WEST: u32 = 12;
    pub const SHIM_MASTER_EAST: u32 = 22;
    pub const SHIM_SLAVE_WEST: u32 = 14;
    pub const SHIM_SLAVE_EAST: u32 = 22;
    /// Bit-fields; AM025 (AIE-ML register reference), taken over for AIE4.
    pub mod switch_master {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const ENABLE: Bits = Bits { word: 0, low: 31, width: 1 };
        pub const PACKET: Bits = Bits { word: 0, low: 30, width: 1 };
        pub const DROP_HEADER: Bits = Bits { word: 0, low: 7, width: 1 };
        pub const SELECT: Bits = Bits { word: 0, low: 0, width: 7 };
    }
    /// Bit-fields; AM025 (AIE-ML register reference), taken over for AIE4.
    pub mod switch_slave {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const ENABLE: Bits = Bits { word: 0, low: 31, width: 1 };
        pub const PACKET: Bits = Bits { word: 0, low: 30, width: 1 };
    }
    /// Bit-fields; AM025 (AIE-ML register reference), taken over for AIE4.
    pub mod switch_slot {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const ID: Bits = Bits { word: 0, low: 24, width: 5 };
        pub const MASK: Bits = Bits { word: 0, low: 16, width: 5 };
        pub const ENABLE: Bits = Bits { word: 0, low: 8, width: 1 };
        pub const MSEL: Bits = Bits { word: 0, low: 4, width: 2 };
        pub const ARBITER: Bits = Bits { word: 0, low: 0, width: 3 };
    }
    /// Bit-fields; AM025 (AIE-ML register reference), taken over for AIE4.
    pub mod stream_packet_header {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const ID: Bits = Bits { word: 0, low: 0, width: 5 };
        pub const OUT_OF_ORDER_ID: Bits = Bits { word: 0, low: 5, width: 5 };
        pub const TYPE: Bits = Bits { word: 0, low: 12, width: 3 };
        pub const ROW: Bits = Bits { word: 0, low: 16, width: 5 };
        pub const COLUMN: Bits = Bits { word: 0, low: 21, width: 7 };
        pub const PARITY: Bits = Bits { word: 0, low: 31, width: 1 };
    }
    /// Bit-fields; aie-codegen Aie4TilePerfCnt: two counters a register, 16 bits each; places in the 16 bits as in AIE-ML.
    pub mod counter_control {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const START: Bits = Bits { word: 0, low: 0, width: 8 };
        pub const STOP: Bits = Bits { word: 0, low: 8, width: 8 };
        pub const SECOND_START: Bits = Bits { word: 0, low: 16, width: 8 };
        pub const SECOND_STOP: Bits = Bits { word: 0, low: 24, width: 8 };
    }
    pub mod core_event {
        pub const ACTIVE: u32 = 55;
        pub const DISABLED: u32 = 56;
        pub const INSTRUCTION_0: u32 = 62;
        pub const INSTRUCTION_5: u32 = 67;
    }
    /// Bit-fields; AM025 (AIE-ML register reference), taken over for AIE4.
    pub mod start_queue {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const TOKEN: Bits = Bits { word: 0, low: 31, width: 1 };
        pub const REPEAT: Bits = Bits { word: 0, low: 16, width: 12 };
        pub const BD: Bits = Bits { word: 0, low: 0, width: 4 };
    }
    /// Bit-fields; AM025 (AIE-ML register reference), taken over for AIE4.
    pub mod channel_control {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const CONTROLLER_ID: Bits = Bits { word: 0, low: 8, width: 8 };
        pub const PACKET_TYPE: Bits = Bits { word: 0, low: 16, width: 3 };
        pub const OUT_OF_ORDER: Bits = Bits { word: 0, low: 3, width: 1 };
        pub const RESET: Bits = Bits { word: 0, low: 1, width: 1 };
    }
    /// Bit-fields; AM025 (AIE-ML register reference), taken over for AIE4.
    pub mod channel_status {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const STATUS: Bits = Bits { word: 0, low: 0, width: 2 };
        pub const STALLED_LOCK_ACQUIRE: Bits = Bits { word: 0, low: 2, width: 1 };
        pub const STALLED_LOCK_RELEASE: Bits = Bits { word: 0, low: 3, width: 1 };
        pub const STALLED_STREAM: Bits = Bits { word: 0, low: 4, width: 1 };
        pub const STALLED_TOKEN: Bits = Bits { word: 0, low: 5, width: 1 };
        pub const ERROR_BD_UNAVAILABLE: Bits = Bits { word: 0, low: 10, width: 1 };
        pub const ERROR_BD_INVALID: Bits = Bits { word: 0, low: 11, width: 1 };
        pub const QUEUE_OVERFLOW: Bits = Bits { word: 0, low: 18, width: 1 };
        pub const RUNNING: Bits = Bits { word: 0, low: 19, width: 1 };
        pub const QUEUE_SIZE: Bits = Bits { word: 0, low: 20, width: 5 };
        pub const CURRENT_BD: Bits = Bits { word: 0, low: 26, width: 4 };
    }
    pub const SHIM_ACTOR_S2MM: [u32; 2] = [0, 2];
    pub const SHIM_ACTOR_MM2S: [u32; 4] = [6, 7, 8, 9];
    pub const SHIM_ACTOR_CTRL_MM2S: [u32; 2] = [16, 17];
    pub const MEM_ACTOR_S2MM: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    pub const MEM_ACTOR_MM2S: [u32; 10] = [16, 17, 18, 19, 20, 21, 22, 23, 24, 25];
    pub const CORE_ACTOR_S2MM: [u32; 2] = [0, 1];
    pub const CORE_ACTOR_MM2S: [u32; 1] = [6];
    /// Bit-fields; aie-codegen xaie4mdsgbl_reginit.c, XAIE4GBL_* register values.
    pub mod shim_bd {
        use super::super::Bits;
        pub const WORDS: usize = 9;
        pub const ADDRESS_HIGH: Bits = Bits { word: 0, low: 0, width: 25 };
        pub const ADDRESS_LOW: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const LENGTH: Bits = Bits { word: 2, low: 0, width: 32 };
        pub const D1_WRAP: Bits = Bits { word: 3, low: 0, width: 12 };
        pub const D2_WRAP: Bits = Bits { word: 3, low: 12, width: 12 };
        pub const BURST: Bits = Bits { word: 3, low: 24, width: 2 };
        pub const ACQUIRE_ENABLE: Bits = Bits { word: 3, low: 26, width: 1 };
        pub const ACQUIRE_ID: Bits = Bits { word: 3, low: 27, width: 5 };
        pub const ACQUIRE_VALUE: Bits = Bits { word: 4, low: 0, width: 7 };
        pub const RELEASE_ID: Bits = Bits { word: 4, low: 7, width: 5 };
        pub const RELEASE_VALUE: Bits = Bits { word: 4, low: 12, width: 7 };
        pub const D0_WRAP: Bits = Bits { word: 4, low: 19, width: 12 };
        pub const D1_STEP: Bits = Bits { word: 5, low: 0, width: 22 };
        pub const AXI_QOS: Bits = Bits { word: 5, low: 22, width: 4 };
        pub const USE_NEXT_BD: Bits = Bits { word: 5, low: 26, width: 1 };
        pub const NEXT_BD: Bits = Bits { word: 5, low: 27, width: 4 };
        pub const ENABLE_PACKET: Bits = Bits { word: 5, low: 31, width: 1 };
        pub const D2_STEP: Bits = Bits { word: 6, low: 0, width: 22 };
        pub const ITERATION_CURRENT: Bits = Bits { word: 6, low: 22, width: 6 };
        pub const TLAST_SUPPRESS: Bits = Bits { word: 6, low: 30, width: 1 };
        pub const ITERATION_STEP: Bits = Bits { word: 7, low: 0, width: 22 };
        pub const ITERATION_WRAP: Bits = Bits { word: 7, low: 22, width: 6 };
        pub const AXI_CACHE: Bits = Bits { word: 7, low: 28, width: 4 };
        pub const PACKET_ID: Bits = Bits { word: 8, low: 0, width: 5 };
        pub const OUT_OF_ORDER_ID: Bits = Bits { word: 8, low: 6, width: 4 };
        pub const D3_STEP: Bits = Bits { word: 8, low: 10, width: 22 };
    }
    /// Bit-fields; aie-codegen xaie4mdsgbl_reginit.c, XAIE4GBL_* register values.
    pub mod mem_bd {
        use super::super::Bits;
        pub const WORDS: usize = 11;
        pub const ADDRESS: Bits = Bits { word: 0, low: 0, width: 24 };
        pub const LENGTH: Bits = Bits { word: 1, low: 0, width: 25 };
        pub const ACQUIRE_VALUE: Bits = Bits { word: 1, low: 25, width: 7 };
        pub const ACQUIRE_ENABLE: Bits = Bits { word: 2, low: 0, width: 1 };
        pub const RELEASE_ID: Bits = Bits { word: 2, low: 1, width: 10 };
        pub const RELEASE_VALUE: Bits = Bits { word: 2, low: 11, width: 7 };
        pub const ACQUIRE_ID: Bits = Bits { word: 2, low: 20, width: 10 };
        pub const D1_STEP: Bits = Bits { word: 3, low: 0, width: 22 };
        pub const D2_STEP: Bits = Bits { word: 4, low: 0, width: 22 };
        pub const D3_STEP: Bits = Bits { word: 5, low: 0, width: 22 };
        pub const ITERATION_STEP: Bits = Bits { word: 6, low: 0, width: 22 };
        pub const TLAST_SUPPRESS: Bits = Bits { word: 6, low: 31, width: 1 };
        pub const D0_PAD_BEFORE: Bits = Bits { word: 7, low: 0, width: 8 };
        pub const D0_PAD_AFTER: Bits = Bits { word: 7, low: 8, width: 8 };
        pub const ITERATION_CURRENT: Bits = Bits { word: 7, low: 16, width: 8 };
        pub const PACKET_ID: Bits = Bits { word: 7, low: 24, width: 5 };
        pub const ENABLE_PACKET: Bits = Bits { word: 7, low: 31, width: 1 };
        pub const D1_PAD_BEFORE: Bits = Bits { word: 8, low: 0, width: 8 };
        pub const D1_PAD_AFTER: Bits = Bits { word: 8, low: 8, width: 8 };
        pub const D2_PAD_BEFORE: Bits = Bits { word: 8, low: 16, width: 8 };
        pub const D2_PAD_AFTER: Bits = Bits { word: 8, low: 24, width: 8 };
        pub const OUT_OF_ORDER_ID: Bits = Bits { word: 9, low: 0, width: 5 };
        pub const D0_WRAP: Bits = Bits { word: 9, low: 5, width: 12 };
        pub const D1_WRAP: Bits = Bits { word: 9, low: 17, width: 12 };
        pub const D2_WRAP: Bits = Bits { word: 10, low: 0, width: 12 };
        pub const ITERATION_WRAP: Bits = Bits { word: 10, low: 12, width: 8 };
        pub const USE_NEXT_BD: Bits = Bits { word: 10, low: 26, width: 1 };
        pub const NEXT_BD: Bits = Bits { word: 10, low: 27, width: 4 };
    }
    /// Bit-fields; aie-codegen xaie4mdsgbl_reginit.c, XAIE4GBL_* register values.
    pub mod core_bd {
        use super::super::Bits;
        pub const WORDS: usize = 6;
        pub const LENGTH: Bits = Bits { word: 0, low: 0, width: 16 };
        pub const ADDRESS: Bits = Bits { word: 0, low: 16, width: 16 };
        pub const PACKET_ID: Bits = Bits { word: 1, low: 0, width: 5 };
        pub const PACKET_TYPE: Bits = Bits { word: 1, low: 5, width: 3 };
        pub const ENABLE_PACKET: Bits = Bits { word: 1, low: 8, width: 1 };
        pub const OUT_OF_ORDER_ID: Bits = Bits { word: 1, low: 9, width: 4 };
        pub const D1_STEP: Bits = Bits { word: 2, low: 0, width: 16 };
        pub const D2_STEP: Bits = Bits { word: 3, low: 0, width: 16 };
        pub const D0_WRAP: Bits = Bits { word: 3, low: 16, width: 9 };
        pub const ITERATION_CURRENT: Bits = Bits { word: 3, low: 25, width: 6 };
        pub const ITERATION_STEP: Bits = Bits { word: 4, low: 0, width: 16 };
        pub const D1_WRAP: Bits = Bits { word: 4, low: 16, width: 9 };
        pub const ITERATION_WRAP: Bits = Bits { word: 4, low: 25, width: 6 };
        pub const ACQUIRE_ID: Bits = Bits { word: 5, low: 0, width: 5 };
        pub const ACQUIRE_VALUE: Bits = Bits { word: 5, low: 5, width: 7 };
        pub const ACQUIRE_ENABLE: Bits = Bits { word: 5, low: 12, width: 1 };
        pub const RELEASE_ID: Bits = Bits { word: 5, low: 13, width: 5 };
        pub const RELEASE_VALUE: Bits = Bits { word: 5, low: 18, width: 7 };
        pub const USE_NEXT_BD: Bits = Bits { word: 5, low: 26, width: 1 };
        pub const NEXT_BD: Bits = Bits { word: 5, low: 27, width: 4 };
        pub const TLAST_SUPPRESS: Bits = Bits { word: 5, low: 31, width: 1 };
    }
}

/// From `fauxdna.abi.switch`.
#[rustfmt::skip]
pub mod switch {
    pub const SHIM_MASTER_PORTS: [u32; 32] = [0, 1, 4, 6, 7, 8, 12, 13, 16, 17, 18, 22, 23, 26, 28, 30, 2, 3, 5, 9, 10, 11, 14, 15, 19, 20, 21, 24, 25, 27, 29, 31];
    pub const SHIM_SLAVE_PORTS: [u32; 30] = [0, 1, 4, 6, 7, 8, 9, 14, 15, 18, 19, 22, 23, 26, 28, 2, 3, 5, 10, 11, 12, 13, 16, 17, 20, 21, 24, 25, 27, 29];
    pub const MEM_MASTER_PORTS: [u32; 30] = [0, 1, 2, 3, 8, 10, 11, 12, 16, 17, 18, 19, 24, 26, 28, 4, 5, 6, 7, 9, 13, 14, 15, 20, 21, 22, 23, 25, 27, 29];
    pub const MEM_SLAVE_PORTS: [u32; 32] = [0, 1, 2, 3, 4, 5, 12, 14, 15, 16, 17, 22, 23, 24, 28, 30, 6, 7, 8, 9, 10, 11, 13, 18, 19, 20, 21, 25, 26, 27, 29, 31];
    pub const CORE_MASTER_PORTS: [u32; 32] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31];
    pub const CORE_SLAVE_PORTS: [u32; 30] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29];
    pub const SHIM_SWITCH_MASTER: u32 = 0x8000;
    pub const SHIM_SWITCH_SLAVE: u32 = 0x8040;
    pub const SHIM_SWITCH_SLOT: u32 = 0x8080;
    pub const MEM_SWITCH_MASTER: u32 = 0x20000;
    pub const MEM_SWITCH_SLAVE: u32 = 0x20040;
    pub const MEM_SWITCH_SLOT: u32 = 0x20080;
    pub const CORE_SWITCH_MASTER: u32 = 0xb4000;
    pub const CORE_SWITCH_SLAVE: u32 = 0xb4100;
    pub const CORE_SWITCH_SLOT: u32 = 0xb4200;
    pub const SHIM_SWITCH_KEPT: [u32; 8] = [33136, 6, 33168, 5, 33200, 7, 33232, 28];
    pub const MEM_SWITCH_KEPT: [u32; 8] = [131456, 6, 131488, 5, 131520, 7, 131552, 28];
}

/// From `fauxdna.abi.tile_program`.
#[rustfmt::skip]
pub mod tile_program {
    pub const REGISTERS: u32 = 16;
    pub const LOOP_DEPTH: u32 = 4;
    /// Bit-fields; chosen (docs/tile-programs.md).
    pub mod tile_instruction {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const OPCODE: Bits = Bits { word: 0, low: 0, width: 8 };
        pub const LENGTH: Bits = Bits { word: 0, low: 8, width: 8 };
        pub const ARGUMENT: Bits = Bits { word: 0, low: 16, width: 16 };
    }
    /// Bit-fields; chosen (docs/tile-programs.md).
    pub mod tile_operand {
        use super::super::Bits;
        pub const WORDS: usize = 1;
        pub const OFFSET: Bits = Bits { word: 0, low: 0, width: 24 };
        pub const BASE: Bits = Bits { word: 0, low: 24, width: 4 };
    }
    pub mod element_type {
        pub const U8: u32 = 0;
        pub const S8: u32 = 1;
        pub const S16: u32 = 2;
        pub const S32: u32 = 3;
        pub const F32: u32 = 4;
        pub const BF16: u32 = 5;
    }
    pub mod requantise {
        pub const NONE: u32 = 0;
        pub const SCALE: u32 = 1;
        pub const SRS: u32 = 2;
    }
    pub mod output_flags {
        pub const BIAS: u32 = 1;
        pub const PER_CHANNEL: u32 = 2;
        pub const TABLE: u32 = 4;
        pub const ACCUMULATE: u32 = 8;
    }
    pub mod srs_rounding {
        pub const FLOOR: u32 = 0;
        pub const CEIL: u32 = 1;
        pub const SYM_FLOOR: u32 = 2;
        pub const SYM_CEIL: u32 = 3;
        pub const NEG_INF: u32 = 8;
        pub const POS_INF: u32 = 9;
        pub const SYM_ZERO: u32 = 10;
        pub const SYM_INF: u32 = 11;
        pub const CONV_EVEN: u32 = 12;
        pub const CONV_ODD: u32 = 13;
    }
    pub mod srs_saturation {
        pub const NONE: u32 = 0;
        pub const SATURATE: u32 = 1;
        pub const SYMMETRIC: u32 = 3;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_conv2d {
        pub const SIZE: usize = 104;
        pub const OUT_HEIGHT: usize = 0;
        pub const OUT_WIDTH: usize = 4;
        pub const OUT_CHANNELS: usize = 8;
        pub const IN_CHANNELS: usize = 12;
        pub const KERNEL_HEIGHT: usize = 16;
        pub const KERNEL_WIDTH: usize = 20;
        pub const STRIDE_HEIGHT: usize = 24;
        pub const STRIDE_WIDTH: usize = 28;
        pub const DILATION_HEIGHT: usize = 32;
        pub const DILATION_WIDTH: usize = 36;
        pub const IN_ROW_PITCH: usize = 40;
        pub const IN_PIXEL_PITCH: usize = 44;
        pub const OUT_ROW_PITCH: usize = 48;
        pub const OUT_PIXEL_PITCH: usize = 52;
        pub const IN_TYPE: usize = 56;
        pub const IN_ZERO: usize = 60;
        pub const WEIGHT_ZERO: usize = 64;
        pub const RESERVED: usize = 68;
        pub const OUT_TYPE: usize = 72;
        pub const REQUANTISE: usize = 76;
        pub const OUT_FLAGS: usize = 80;
        pub const OUT_ZERO: usize = 84;
        pub const CLAMP_LOW: usize = 88;
        pub const CLAMP_HIGH: usize = 92;
        pub const SRS_SHIFT: usize = 96;
        pub const SRS_MODE: usize = 100;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_depthwise {
        pub const SIZE: usize = 96;
        pub const OUT_HEIGHT: usize = 0;
        pub const OUT_WIDTH: usize = 4;
        pub const CHANNELS: usize = 8;
        pub const KERNEL_HEIGHT: usize = 12;
        pub const KERNEL_WIDTH: usize = 16;
        pub const STRIDE_HEIGHT: usize = 20;
        pub const STRIDE_WIDTH: usize = 24;
        pub const DILATION_HEIGHT: usize = 28;
        pub const DILATION_WIDTH: usize = 32;
        pub const IN_ROW_PITCH: usize = 36;
        pub const IN_PIXEL_PITCH: usize = 40;
        pub const OUT_ROW_PITCH: usize = 44;
        pub const OUT_PIXEL_PITCH: usize = 48;
        pub const IN_TYPE: usize = 52;
        pub const IN_ZERO: usize = 56;
        pub const RESERVED: usize = 60;
        pub const OUT_TYPE: usize = 64;
        pub const REQUANTISE: usize = 68;
        pub const OUT_FLAGS: usize = 72;
        pub const OUT_ZERO: usize = 76;
        pub const CLAMP_LOW: usize = 80;
        pub const CLAMP_HIGH: usize = 84;
        pub const SRS_SHIFT: usize = 88;
        pub const SRS_MODE: usize = 92;
    }
    pub mod pool_kind {
        pub const MAX: u32 = 0;
        pub const SUM: u32 = 1;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_pool {
        pub const SIZE: usize = 96;
        pub const OUT_HEIGHT: usize = 0;
        pub const OUT_WIDTH: usize = 4;
        pub const CHANNELS: usize = 8;
        pub const KERNEL_HEIGHT: usize = 12;
        pub const KERNEL_WIDTH: usize = 16;
        pub const STRIDE_HEIGHT: usize = 20;
        pub const STRIDE_WIDTH: usize = 24;
        pub const DILATION_HEIGHT: usize = 28;
        pub const DILATION_WIDTH: usize = 32;
        pub const IN_ROW_PITCH: usize = 36;
        pub const IN_PIXEL_PITCH: usize = 40;
        pub const OUT_ROW_PITCH: usize = 44;
        pub const OUT_PIXEL_PITCH: usize = 48;
        pub const IN_TYPE: usize = 52;
        pub const KIND: usize = 56;
        pub const IN_ZERO: usize = 60;
        pub const OUT_TYPE: usize = 64;
        pub const REQUANTISE: usize = 68;
        pub const OUT_FLAGS: usize = 72;
        pub const OUT_ZERO: usize = 76;
        pub const CLAMP_LOW: usize = 80;
        pub const CLAMP_HIGH: usize = 84;
        pub const SRS_SHIFT: usize = 88;
        pub const SRS_MODE: usize = 92;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_reduce {
        pub const SIZE: usize = 64;
        pub const ROWS: usize = 0;
        pub const CHANNELS: usize = 4;
        pub const IN_PITCH: usize = 8;
        pub const IN_TYPE: usize = 12;
        pub const IN_ZERO: usize = 16;
        pub const RESERVED: usize = 20;
        pub const OUT_TYPE: usize = 32;
        pub const REQUANTISE: usize = 36;
        pub const OUT_FLAGS: usize = 40;
        pub const OUT_ZERO: usize = 44;
        pub const CLAMP_LOW: usize = 48;
        pub const CLAMP_HIGH: usize = 52;
        pub const SRS_SHIFT: usize = 56;
        pub const SRS_MODE: usize = 60;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_requantise {
        pub const SIZE: usize = 64;
        pub const ROWS: usize = 0;
        pub const CHANNELS: usize = 4;
        pub const IN_PITCH: usize = 8;
        pub const OUT_PITCH: usize = 12;
        pub const IN_TYPE: usize = 16;
        pub const RESERVED: usize = 20;
        pub const OUT_TYPE: usize = 32;
        pub const REQUANTISE: usize = 36;
        pub const OUT_FLAGS: usize = 40;
        pub const OUT_ZERO: usize = 44;
        pub const CLAMP_LOW: usize = 48;
        pub const CLAMP_HIGH: usize = 52;
        pub const SRS_SHIFT: usize = 56;
        pub const SRS_MODE: usize = 60;
    }
    pub mod binary_operation {
        pub const ADD: u32 = 0;
        pub const SUBTRACT: u32 = 1;
        pub const MULTIPLY: u32 = 2;
        pub const DIVIDE: u32 = 3;
        pub const MAXIMUM: u32 = 4;
        pub const MINIMUM: u32 = 5;
    }
    pub mod broadcast {
        pub const NONE: u32 = 0;
        pub const ROW: u32 = 1;
        pub const SCALAR: u32 = 2;
        pub const COLUMN: u32 = 3;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_binary {
        pub const SIZE: usize = 80;
        pub const ROWS: usize = 0;
        pub const CHANNELS: usize = 4;
        pub const A_PITCH: usize = 8;
        pub const B_PITCH: usize = 12;
        pub const OUT_PITCH: usize = 16;
        pub const OPERATION: usize = 20;
        pub const BROADCAST: usize = 24;
        pub const A_TYPE: usize = 28;
        pub const B_TYPE: usize = 32;
        pub const OUT_TYPE: usize = 36;
        pub const A_ZERO: usize = 40;
        pub const B_ZERO: usize = 44;
        pub const OUT_ZERO: usize = 48;
        pub const A_SCALE: usize = 52;
        pub const B_SCALE: usize = 56;
        pub const OUT_SCALE: usize = 60;
        pub const CLAMP_LOW: usize = 64;
        pub const CLAMP_HIGH: usize = 68;
        pub const RESERVED: usize = 72;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_table {
        pub const SIZE: usize = 32;
        pub const ROWS: usize = 0;
        pub const ROW_ELEMENTS: usize = 4;
        pub const IN_PITCH: usize = 8;
        pub const OUT_PITCH: usize = 12;
        pub const OUT_TYPE: usize = 16;
        pub const RESERVED: usize = 20;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_convert {
        pub const SIZE: usize = 64;
        pub const PIXELS: usize = 0;
        pub const CHANNELS: usize = 4;
        pub const IN_PIXEL_PITCH: usize = 8;
        pub const IN_CHANNEL_PITCH: usize = 12;
        pub const OUT_PIXEL_PITCH: usize = 16;
        pub const OUT_CHANNEL_PITCH: usize = 20;
        pub const IN_TYPE: usize = 24;
        pub const OUT_TYPE: usize = 28;
        pub const SCALE: usize = 32;
        pub const ZERO: usize = 36;
        pub const CLAMP_LOW: usize = 40;
        pub const CLAMP_HIGH: usize = 44;
        pub const FILL_CHANNELS: usize = 48;
        pub const RESERVED: usize = 52;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_copy {
        pub const SIZE: usize = 64;
        pub const ELEMENT_SIZE: usize = 0;
        pub const SIZES: usize = 4;
        pub const IN_STRIDES: usize = 20;
        pub const OUT_STRIDES: usize = 36;
        pub const RESERVED: usize = 52;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_fill {
        pub const SIZE: usize = 16;
        pub const ROWS: usize = 0;
        pub const ROW_BYTES: usize = 4;
        pub const PITCH: usize = 8;
        pub const VALUE: usize = 12;
    }
    pub mod unary_operation {
        pub const RELU: u32 = 0;
        pub const EXP: u32 = 1;
        pub const LOG: u32 = 2;
        pub const TANH: u32 = 3;
        pub const SIGMOID: u32 = 4;
        pub const ERF: u32 = 5;
        pub const SQRT: u32 = 6;
        pub const RECIPROCAL: u32 = 7;
        pub const NEGATE: u32 = 8;
        pub const ABS: u32 = 9;
        pub const HARD_SIGMOID: u32 = 10;
        pub const CLIP: u32 = 11;
        pub const POWER: u32 = 12;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_unary {
        pub const SIZE: usize = 48;
        pub const ROWS: usize = 0;
        pub const CHANNELS: usize = 4;
        pub const IN_PITCH: usize = 8;
        pub const OUT_PITCH: usize = 12;
        pub const OPERATION: usize = 16;
        pub const IN_TYPE: usize = 20;
        pub const OUT_TYPE: usize = 24;
        pub const ALPHA: usize = 28;
        pub const BETA: usize = 32;
        pub const RESERVED: usize = 36;
    }
    pub mod normalise_kind {
        pub const SOFTMAX: u32 = 0;
        pub const LAYER: u32 = 1;
        pub const SUM: u32 = 2;
        pub const MEAN: u32 = 3;
        pub const MAX: u32 = 4;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_normalise {
        pub const SIZE: usize = 48;
        pub const ROWS: usize = 0;
        pub const CHANNELS: usize = 4;
        pub const IN_PITCH: usize = 8;
        pub const OUT_PITCH: usize = 12;
        pub const KIND: usize = 16;
        pub const IN_TYPE: usize = 20;
        pub const OUT_TYPE: usize = 24;
        pub const EPSILON: usize = 28;
        pub const RESERVED: usize = 32;
    }
    /// Byte offsets; chosen (docs/tile-programs.md).
    pub mod tile_pack {
        pub const SIZE: usize = 32;
        pub const INNER: usize = 0;
        pub const OUTER: usize = 4;
        pub const IN_PITCH: usize = 8;
        pub const TRANSPOSED: usize = 12;
        pub const RESERVED: usize = 16;
    }
    pub mod opcode {
        pub const HALT: u32 = 0;
        pub const MOVE: u32 = 1;
        pub const ADD: u32 = 2;
        pub const SWAP: u32 = 3;
        pub const LOOP: u32 = 4;
        pub const END_LOOP: u32 = 5;
        pub const ACQUIRE: u32 = 6;
        pub const RELEASE: u32 = 7;
        pub const EVENT: u32 = 8;
        pub const CONV2D: u32 = 32;
        pub const DEPTHWISE: u32 = 33;
        pub const POOL: u32 = 34;
        pub const REDUCE: u32 = 35;
        pub const REQUANTISE: u32 = 36;
        pub const BINARY: u32 = 40;
        pub const TABLE: u32 = 41;
        pub const CONVERT: u32 = 42;
        pub const COPY: u32 = 43;
        pub const FILL: u32 = 44;
        pub const PACK: u32 = 45;
        pub const UNARY: u32 = 48;
        pub const NORMALISE: u32 = 49;
    }
    pub mod fault {
        pub const NONE: u32 = 0;
        pub const UNKNOWN_OPCODE: u32 = 1;
        pub const BAD_LENGTH: u32 = 2;
        pub const PROGRAM_BOUNDS: u32 = 3;
        pub const DATA_BOUNDS: u32 = 4;
        pub const MISALIGNED: u32 = 5;
        pub const BAD_DESCRIPTOR: u32 = 6;
        pub const LOOP_NESTING: u32 = 7;
        pub const BAD_LOCK: u32 = 8;
        pub const OVERLAP: u32 = 9;
        pub const LOCK_OVERFLOW: u32 = 10;
        pub const BUDGET: u32 = 11;
    }
}

/// From `fauxdna.abi.timing`.
#[rustfmt::skip]
pub mod timing {
    pub const DPM_DEFAULT: u32 = 4;
    pub const HCLK_MHZ: u32 = 1200;
    pub const MACS_PER_CYCLE_S8: u32 = 512;
    pub const MACS_PER_CYCLE_S16: u32 = 128;
    pub const MACS_PER_CYCLE_DEPTHWISE: u32 = 128;
    pub const ELEMENTS_PER_CYCLE_8BIT: u32 = 64;
    pub const ELEMENTS_PER_CYCLE_F32: u32 = 16;
    pub const BYTES_PER_CYCLE_COPY: u32 = 64;
    pub const INSTRUCTION_CYCLES: u32 = 8;
    pub const CORE_BUDGET_CYCLES: u32 = 0x7270e00;
    pub const STREAM_BYTES_PER_CYCLE: u32 = 64;
    pub const HOST_BYTES_PER_CYCLE: u32 = 16;
    pub const BD_CYCLES: u32 = 16;
    pub const HOST_LATENCY_CYCLES: u32 = 240;
    pub const HOP_CYCLES: u32 = 2;
    pub const LOCK_CYCLES: u32 = 4;
    pub const UC_OPCODE_CYCLES: u32 = 12;
    pub const UC_REGISTER_CYCLES: u32 = 24;
    pub const UC_DMA_SETUP_CYCLES: u32 = 64;
    pub const UC_DMA_BYTES_PER_CYCLE: u32 = 16;
    pub const UC_PAGE_CYCLES: u32 = 512;
    pub const POLL_CYCLES: u32 = 128;
    pub const POLL_TIMEOUT_CYCLES: u32 = 0x47868c00;
    pub const PICOJOULE_PER_MAC_S8: f64 = 0.12;
    pub const PICOJOULE_PER_MAC_S16: f64 = 0.4;
    pub const PICOJOULE_PER_ELEMENT: f64 = 0.8;
    pub const PICOJOULE_PER_STREAM_BYTE: f64 = 0.4;
    pub const PICOJOULE_PER_HOST_BYTE: f64 = 12.0;
    pub const PICOJOULE_PER_UC_OPCODE: f64 = 20.0;
}

/// From `fauxdna.abi.control_code`.
#[rustfmt::skip]
pub mod control_code {
    pub const PAGE_SIZE: u32 = 0x2000;
    pub const PAGE_HEADER_SIZE: u32 = 16;
    pub const PAGE_MAGIC: u32 = 0xffff;
    pub const FILLER: u32 = 165;
    pub const JOB_REGISTERS: u32 = 8;
    pub const SHARED_REGISTERS: u32 = 16;
    pub const LOCAL_BARRIERS: u32 = 16;
    pub const UC_PER_COLUMN: u32 = 2;
    pub const MAX_UC: u32 = 6;
    pub const NO_ARGUMENT_OFFSET: u32 = 0xffff;
    pub const REMOTE_BARRIER_BASE: u32 = 1;
    pub const REMOTE_BARRIERS: u32 = 64;
    pub const REMOTE_BARRIER_PREEMPT: u32 = 0;
    pub const REMOTE_BARRIER_POINT: u32 = 65;
    pub const WRITE_ADDRESS_IMMEDIATE: u32 = 1;
    pub const WRITE_VALUE_IMMEDIATE: u32 = 2;
    pub const UC_DMA_QUEUE_DEPTH: u32 = 16;
    pub const NESTING_MAX: u32 = 4;
    pub const PAGES_MAX: u32 = 0x10000;
    pub const START_QUEUE_MAX: u32 = 32;
    /// Byte offsets; aiebu isa-spec.yaml.
    pub mod page_header {
        pub const SIZE: usize = 16;
        pub const MAGIC: usize = 0;
        pub const PAGE: usize = 2;
        pub const OUT_OF_ORDER_LENGTH_1: usize = 4;
        pub const OUT_OF_ORDER_LENGTH_2: usize = 6;
        pub const LENGTH: usize = 8;
        pub const NEXT_LENGTH: usize = 10;
        pub const RESERVED: usize = 12;
    }
    /// Bit-fields; aiebu isa-spec.yaml.
    pub mod uc_bd {
        use super::super::Bits;
        pub const WORDS: usize = 4;
        pub const LENGTH: Bits = Bits { word: 0, low: 0, width: 15 };
        pub const NEXT_BD: Bits = Bits { word: 0, low: 16, width: 1 };
        pub const EXTERNAL: Bits = Bits { word: 0, low: 17, width: 1 };
        pub const LOCAL_RELATIVE: Bits = Bits { word: 0, low: 18, width: 1 };
        pub const LOCAL: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const REMOTE_LOW: Bits = Bits { word: 2, low: 0, width: 32 };
        pub const REMOTE_HIGH: Bits = Bits { word: 3, low: 0, width: 32 };
    }
    pub mod opcode {
        pub const START_JOB: u32 = 0;
        pub const UC_DMA_WRITE_DES: u32 = 1;
        pub const WAIT_UC_DMA: u32 = 2;
        pub const MASK_WRITE_32: u32 = 3;
        pub const LOAD_CORES: u32 = 4;
        pub const WRITE_32: u32 = 5;
        pub const WAIT_TCTS: u32 = 6;
        pub const END_JOB: u32 = 7;
        pub const YIELD: u32 = 8;
        pub const UC_DMA_WRITE_DES_SYNC: u32 = 9;
        pub const WRITE_32_D: u32 = 11;
        pub const READ_32: u32 = 12;
        pub const READ_32_D: u32 = 13;
        pub const APPLY_OFFSET_57: u32 = 14;
        pub const ADD: u32 = 15;
        pub const MOV: u32 = 16;
        pub const LOCAL_BARRIER: u32 = 17;
        pub const REMOTE_BARRIER: u32 = 18;
        pub const POLL_32: u32 = 19;
        pub const MASK_POLL_32: u32 = 20;
        pub const TRACE: u32 = 21;
        pub const NOP: u32 = 22;
        pub const START_JOB_DEFERRED: u32 = 23;
        pub const LAUNCH_JOB: u32 = 24;
        pub const PREEMPT: u32 = 25;
        pub const LOAD_PDI: u32 = 26;
        pub const LOAD_LAST_PDI: u32 = 27;
        pub const SAVE_TIMESTAMPS: u32 = 28;
        pub const SLEEP: u32 = 29;
        pub const SAVE_REGISTER: u32 = 30;
        pub const START_COND_JOB_PREEMPT: u32 = 31;
        pub const LOAD_CORES_CP: u32 = 32;
        pub const REL_ACQ_SYNC: u32 = 33;
        pub const UC_DMA_MASK_POLL_EXT: u32 = 34;
        pub const APPLY_OFFSET_PL: u32 = 35;
        pub const EOF: u32 = 255;
    }
    /// Operands of START_JOB.
    pub mod start_job {
        use super::super::Bits;
        pub const JOB: Bits = Bits { word: 0, low: 16, width: 16 };
        pub const SIZE: Bits = Bits { word: 1, low: 0, width: 16 };
    }
    /// Operands of START_JOB_DEFERRED.
    pub mod start_job_deferred {
        use super::super::Bits;
        pub const JOB: Bits = Bits { word: 0, low: 16, width: 16 };
        pub const SIZE: Bits = Bits { word: 1, low: 0, width: 16 };
    }
    /// Operands of START_COND_JOB_PREEMPT.
    pub mod start_cond_job_preempt {
        use super::super::Bits;
        pub const JOB: Bits = Bits { word: 0, low: 16, width: 16 };
        pub const SIZE: Bits = Bits { word: 1, low: 0, width: 16 };
    }
    /// Operands of LAUNCH_JOB.
    pub mod launch_job {
        use super::super::Bits;
        pub const JOB: Bits = Bits { word: 0, low: 16, width: 16 };
    }
    /// Operands of UC_DMA_WRITE_DES.
    pub mod uc_dma_write_des {
        use super::super::Bits;
        pub const REGISTER: Bits = Bits { word: 0, low: 16, width: 8 };
        pub const BD: Bits = Bits { word: 1, low: 0, width: 16 };
    }
    /// Operands of WAIT_UC_DMA.
    pub mod wait_uc_dma {
        use super::super::Bits;
        pub const REGISTER: Bits = Bits { word: 0, low: 16, width: 8 };
    }
    /// Operands of UC_DMA_WRITE_DES_SYNC.
    pub mod uc_dma_write_des_sync {
        use super::super::Bits;
        pub const BD: Bits = Bits { word: 0, low: 16, width: 16 };
    }
    /// Operands of WRITE_32.
    pub mod write_32 {
        use super::super::Bits;
        pub const ADDRESS: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const VALUE: Bits = Bits { word: 2, low: 0, width: 32 };
    }
    /// Operands of MASK_WRITE_32.
    pub mod mask_write_32 {
        use super::super::Bits;
        pub const ADDRESS: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const MASK: Bits = Bits { word: 2, low: 0, width: 32 };
        pub const VALUE: Bits = Bits { word: 3, low: 0, width: 32 };
    }
    /// Operands of WRITE_32_D.
    pub mod write_32_d {
        use super::super::Bits;
        pub const FLAGS: Bits = Bits { word: 0, low: 16, width: 8 };
        pub const ADDRESS: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const VALUE: Bits = Bits { word: 2, low: 0, width: 32 };
    }
    /// Operands of READ_32.
    pub mod read_32 {
        use super::super::Bits;
        pub const REGISTER: Bits = Bits { word: 0, low: 16, width: 8 };
        pub const ADDRESS: Bits = Bits { word: 1, low: 0, width: 32 };
    }
    /// Operands of READ_32_D.
    pub mod read_32_d {
        use super::super::Bits;
        pub const ADDRESS_REGISTER: Bits = Bits { word: 0, low: 16, width: 8 };
        pub const REGISTER: Bits = Bits { word: 0, low: 24, width: 8 };
    }
    /// Operands of ADD.
    pub mod add {
        use super::super::Bits;
        pub const REGISTER: Bits = Bits { word: 0, low: 16, width: 8 };
        pub const VALUE: Bits = Bits { word: 1, low: 0, width: 32 };
    }
    /// Operands of MOV.
    pub mod mov {
        use super::super::Bits;
        pub const REGISTER: Bits = Bits { word: 0, low: 16, width: 8 };
        pub const VALUE: Bits = Bits { word: 1, low: 0, width: 32 };
    }
    /// Operands of LOCAL_BARRIER.
    pub mod local_barrier {
        use super::super::Bits;
        pub const ID: Bits = Bits { word: 0, low: 16, width: 8 };
        pub const COUNT: Bits = Bits { word: 0, low: 24, width: 8 };
    }
    /// Operands of REMOTE_BARRIER.
    pub mod remote_barrier {
        use super::super::Bits;
        pub const ID: Bits = Bits { word: 0, low: 16, width: 8 };
        pub const MASK: Bits = Bits { word: 1, low: 0, width: 32 };
    }
    /// Operands of POLL_32.
    pub mod poll_32 {
        use super::super::Bits;
        pub const ADDRESS: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const VALUE: Bits = Bits { word: 2, low: 0, width: 32 };
    }
    /// Operands of MASK_POLL_32.
    pub mod mask_poll_32 {
        use super::super::Bits;
        pub const ADDRESS: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const MASK: Bits = Bits { word: 2, low: 0, width: 32 };
        pub const VALUE: Bits = Bits { word: 3, low: 0, width: 32 };
    }
    /// Operands of WAIT_TCTS.
    pub mod wait_tcts {
        use super::super::Bits;
        pub const TILE: Bits = Bits { word: 0, low: 16, width: 16 };
        pub const ACTOR: Bits = Bits { word: 1, low: 0, width: 8 };
        pub const COUNT: Bits = Bits { word: 1, low: 16, width: 8 };
    }
    /// Operands of APPLY_OFFSET_57.
    pub mod apply_offset_57 {
        use super::super::Bits;
        pub const TABLE: Bits = Bits { word: 0, low: 16, width: 16 };
        pub const COUNT: Bits = Bits { word: 1, low: 0, width: 16 };
        pub const OFFSET: Bits = Bits { word: 1, low: 16, width: 16 };
    }
    /// Operands of PREEMPT.
    pub mod preempt {
        use super::super::Bits;
        pub const ID: Bits = Bits { word: 0, low: 16, width: 16 };
        pub const SAVE_PAGE: Bits = Bits { word: 1, low: 0, width: 16 };
        pub const RESTORE_PAGE: Bits = Bits { word: 1, low: 16, width: 16 };
    }
    /// Operands of LOAD_PDI.
    pub mod load_pdi {
        use super::super::Bits;
        pub const PDI: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const PAGE: Bits = Bits { word: 2, low: 0, width: 16 };
    }
    /// Operands of LOAD_CORES.
    pub mod load_cores {
        use super::super::Bits;
        pub const ID: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const PAGE: Bits = Bits { word: 2, low: 0, width: 16 };
    }
    /// Operands of LOAD_CORES_CP.
    pub mod load_cores_cp {
        use super::super::Bits;
        pub const ID: Bits = Bits { word: 1, low: 0, width: 32 };
    }
    /// Operands of SAVE_TIMESTAMPS.
    pub mod save_timestamps {
        use super::super::Bits;
        pub const ID: Bits = Bits { word: 1, low: 0, width: 32 };
    }
    /// Operands of SAVE_REGISTER.
    pub mod save_register {
        use super::super::Bits;
        pub const ADDRESS: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const ID: Bits = Bits { word: 2, low: 0, width: 32 };
    }
    /// Operands of SLEEP.
    pub mod sleep {
        use super::super::Bits;
        pub const MICROSECONDS: Bits = Bits { word: 1, low: 0, width: 32 };
    }
    /// Operands of TRACE.
    pub mod trace {
        use super::super::Bits;
        pub const INFO: Bits = Bits { word: 0, low: 16, width: 16 };
    }
    /// Operands of REL_ACQ_SYNC.
    pub mod rel_acq_sync {
        use super::super::Bits;
        pub const RELEASE: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const ACQUIRE: Bits = Bits { word: 2, low: 0, width: 32 };
    }
    /// Operands of UC_DMA_MASK_POLL_EXT.
    pub mod uc_dma_mask_poll_ext {
        use super::super::Bits;
        pub const ADDRESS_LOW: Bits = Bits { word: 1, low: 0, width: 32 };
        pub const ADDRESS_HIGH: Bits = Bits { word: 2, low: 0, width: 32 };
        pub const MASK: Bits = Bits { word: 3, low: 0, width: 32 };
        pub const VALUE: Bits = Bits { word: 4, low: 0, width: 32 };
    }
    /// Operands of APPLY_OFFSET_PL.
    pub mod apply_offset_pl {
        use super::super::Bits;
        pub const TABLE: Bits = Bits { word: 0, low: 16, width: 16 };
        pub const COUNT: Bits = Bits { word: 1, low: 0, width: 16 };
        pub const OFFSET: Bits = Bits { word: 1, low: 16, width: 16 };
    }
    /// Bytes of the instruction with each opcode; 0 where there is none.
    pub const SIZES: [u8; 256] = [8, 8, 4, 16, 12, 12, 8, 4, 4, 4, 0, 12, 8, 4, 8, 8, 8, 4, 8, 12, 16, 4, 4, 8, 4, 8, 12, 4, 8, 8, 12, 8, 8, 12, 20, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4];
    /// Mnemonic of each opcode.
    pub const MNEMONICS: [&str; 256] = ["START_JOB", "UC_DMA_WRITE_DES", "WAIT_UC_DMA", "MASK_WRITE_32", "LOAD_CORES", "WRITE_32", "WAIT_TCTS", "END_JOB", "YIELD", "UC_DMA_WRITE_DES_SYNC", "", "WRITE_32_D", "READ_32", "READ_32_D", "APPLY_OFFSET_57", "ADD", "MOV", "LOCAL_BARRIER", "REMOTE_BARRIER", "POLL_32", "MASK_POLL_32", "TRACE", "NOP", "START_JOB_DEFERRED", "LAUNCH_JOB", "PREEMPT", "LOAD_PDI", "LOAD_LAST_PDI", "SAVE_TIMESTAMPS", "SLEEP", "SAVE_REGISTER", "START_COND_JOB_PREEMPT", "LOAD_CORES_CP", "REL_ACQ_SYNC", "UC_DMA_MASK_POLL_EXT", "APPLY_OFFSET_PL", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "EOF"];
    pub mod dtrace_kind {
        pub const TIMESTAMP: u32 = 0;
        pub const REGISTER: u32 = 1;
        pub const TRACE: u32 = 2;
    }
    pub const DTRACE_MAGIC: u32 = 0x41544446;
    /// Byte offsets; chosen.
    pub mod dtrace_header {
        pub const SIZE: usize = 16;
        pub const MAGIC: usize = 0;
        pub const CAPACITY: usize = 4;
        pub const COUNT: usize = 8;
        pub const RESERVED: usize = 12;
    }
    /// Byte offsets; chosen.
    pub mod dtrace_record {
        pub const SIZE: usize = 16;
        pub const KIND: usize = 0;
        pub const UC: usize = 2;
        pub const ID: usize = 4;
        pub const VALUE: usize = 8;
    }
    /// Byte offsets; XRT TestGemm.cpp: a debug buffer holds pairs of number and cycle count.
    pub mod saved_register {
        pub const SIZE: usize = 8;
        pub const ID: usize = 0;
        pub const VALUE: usize = 4;
    }
    pub mod relocation {
        pub const UC_DMA_REMOTE_POINTER: u32 = 1;
        pub const SHIM_DMA_57: u32 = 2;
        pub const SCALAR_32: u32 = 3;
        pub const CONTROL_PACKET_48: u32 = 4;
        pub const SHIM_DMA_48: u32 = 5;
        pub const SHIM_DMA_57_AIE4: u32 = 6;
        pub const CONTROL_PACKET_57: u32 = 7;
        pub const ADDRESS_64: u32 = 8;
        pub const CONTROL_PACKET_57_AIE4: u32 = 9;
    }
}

/// From `fauxdna.abi.host_queue`.
#[rustfmt::skip]
pub mod host_queue {
    pub const CAPACITY_MAX: u32 = 32;
    pub const PACKET_SIZE: u32 = 64;
    pub const PACKET_DATA_SIZE: u32 = 48;
    pub const DOORBELL_PAGE_SIZE: u32 = 4096;
    pub const DOORBELL_ARMED: u32 = 0xffffffff;
    pub const DOORBELL_RING: u32 = 0;
    pub const DOORBELL_SLEEPING: u32 = 64;
    pub const DOORBELL_KICKS: u32 = 128;
    pub const INDIRECT_MAX: u32 = 6;
    /// Byte offsets; Linux 7.2 aie4_host_queue.h struct host_queue_header.
    pub mod header_unpadded {
        pub const SIZE: usize = 32;
        pub const READ_INDEX: usize = 0;
        pub const MAJOR: usize = 8;
        pub const MINOR: usize = 10;
        pub const CAPACITY: usize = 12;
        pub const WRITE_INDEX: usize = 16;
        pub const DATA_ADDRESS: usize = 24;
    }
    /// Byte offsets; amd/xdna-driver src/shim/umq host_queue.h.
    pub mod header_padded {
        pub const SIZE: usize = 128;
        pub const READ_INDEX: usize = 0;
        pub const MAJOR: usize = 8;
        pub const MINOR: usize = 10;
        pub const CAPACITY: usize = 12;
        pub const RESERVED0: usize = 16;
        pub const WRITE_INDEX: usize = 64;
        pub const RESERVED1: usize = 72;
        pub const DATA_ADDRESS: usize = 120;
    }
    pub const PADDED_MAJOR: u32 = 1;
    pub const MIRROR_WRITE_INDEX: u32 = 16;
    pub mod packet_type {
        pub const VENDOR: u32 = 0;
    }
    pub mod packet_opcode {
        pub const EXEC_BUF: u32 = 1;
        pub const TEST: u32 = 2;
        pub const EXIT: u32 = 3;
    }
    /// Byte offsets; amd/xdna-driver src/shim/umq host_queue.h.
    pub mod packet {
        pub const SIZE: usize = 64;
        pub const TYPE: usize = 0;
        pub const RESERVED: usize = 1;
        pub const OPCODE: usize = 2;
        pub const CHAIN: usize = 3;
        pub const COUNT: usize = 4;
        pub const DISTRIBUTE: usize = 6;
        pub const INDIRECT: usize = 7;
        pub const COMPLETION_SIGNAL: usize = 8;
        pub const DATA: usize = 16;
    }
    /// Byte offsets; amd/xdna-driver src/shim/umq host_queue.h.
    pub mod exec_buf {
        pub const SIZE: usize = 24;
        pub const DTRACE_LOW: usize = 0;
        pub const CODE_LOW: usize = 4;
        pub const CODE_HIGH: usize = 8;
        pub const ARGS_LENGTH: usize = 12;
        pub const DTRACE_HIGH: usize = 14;
        pub const ARGS_LOW: usize = 16;
        pub const ARGS_HIGH: usize = 20;
    }
    /// Bit-fields; amd/xdna-driver src/shim/umq host_queue.h.
    pub mod indirect_entry {
        use super::super::Bits;
        pub const WORDS: usize = 2;
        pub const ADDRESS_LOW: Bits = Bits { word: 0, low: 0, width: 32 };
        pub const ADDRESS_HIGH: Bits = Bits { word: 1, low: 0, width: 25 };
        pub const UC: Bits = Bits { word: 1, low: 25, width: 7 };
    }
    /// Byte offsets; amd/xdna-driver src/shim/umq host_queue.h.
    pub mod indirect_payload {
        pub const SIZE: usize = 32;
        pub const TYPE: usize = 0;
        pub const RESERVED: usize = 1;
        pub const OPCODE: usize = 2;
        pub const CHAIN: usize = 3;
        pub const COUNT: usize = 4;
        pub const DISTRIBUTE: usize = 6;
        pub const INDIRECT: usize = 7;
        pub const DTRACE_LOW: usize = 8;
        pub const CODE_LOW: usize = 12;
        pub const CODE_HIGH: usize = 16;
        pub const ARGS_LENGTH: usize = 20;
        pub const DTRACE_HIGH: usize = 22;
        pub const ARGS_LOW: usize = 24;
        pub const ARGS_HIGH: usize = 28;
    }
    pub mod completion_state {
        pub const NEW: u32 = 1;
        pub const COMPLETED: u32 = 4;
        pub const ERROR: u32 = 5;
        pub const ABORT: u32 = 6;
        pub const TIMEOUT: u32 = 8;
    }
    pub mod context_error {
        pub const EXIT: u32 = 0;
        pub const NO_PDI: u32 = 1;
        pub const PDI_LOAD: u32 = 2;
        pub const INVALID_OPCODE: u32 = 3;
        pub const INVALID_PACKET: u32 = 4;
        pub const INVALID_PAGE: u32 = 5;
        pub const TIMEOUT: u32 = 6;
    }
}

/// From `fauxdna.abi.uc_log`.
#[rustfmt::skip]
pub mod uc_log {
    pub const HEADER_SIZE: u32 = 32;
    pub const BUFFER_MINIMUM: u32 = 64;
    pub const BUFFER_MAXIMUM: u32 = 0x4000000;
    /// Byte offsets; XRT core/common/uc_log.h struct uc_log_entry.
    pub mod log_entry {
        pub const SIZE: usize = 32;
        pub const LENGTH: usize = 0;
        pub const TS_HIGH: usize = 4;
        pub const TS_LOW: usize = 8;
        pub const FILE_ID: usize = 12;
        pub const LINE_NUM: usize = 16;
        pub const LOG_ID: usize = 20;
        pub const ARGUMENT1: usize = 24;
        pub const ARGUMENT2: usize = 28;
    }
    pub const WORDS_BEFORE_ARGUMENTS: u32 = 6;
    pub mod file {
        pub const MAIN: u32 = 0;
        pub const DPU_CONTROL: u32 = 1;
        pub const TASK_HANDLER: u32 = 5;
        pub const XRT_HANDLER: u32 = 9;
        pub const HOST_QUEUE: u32 = 10;
        pub const TRACE: u32 = 14;
    }
    pub mod text {
        pub const INVALID_PAGE: u32 = 4;
        pub const INVALID_OPCODE: u32 = 5;
        pub const DEADLOCK: u32 = 8;
        pub const EXCEPTION: u32 = 11;
        pub const END_JOB: u32 = 18;
        pub const TRACE: u32 = 25;
        pub const END_OF_CODE: u32 = 29;
        pub const SAVE: u32 = 33;
        pub const RESTORE: u32 = 35;
        pub const EXECUTE: u32 = 55;
        pub const PACKET: u32 = 56;
        pub const PAGE_IN: u32 = 71;
    }
}

/// From `fauxdna.abi.firmware_ring`.
#[rustfmt::skip]
pub mod firmware_ring {
    pub const FOOTER_SIZE: u32 = 4096;
    pub const BUFFER_SIZE: u32 = 0x400000;
    pub const BUFFER_MINIMUM: u32 = 0x2000;
    pub const BUFFER_MAXIMUM: u32 = 0x4000000;
    pub const VERSION_MAJOR: u32 = 1;
    pub const PAYLOAD_VERSION: u32 = 0x4010100;
    pub const ALL_CATEGORIES: u32 = 0xffffffff;
    /// Byte offsets; amd/xdna-driver amdxdna_dpt.h struct amdxdna_dpt_footer.
    pub mod footer {
        pub const SIZE: usize = 68;
        pub const MINOR: usize = 0;
        pub const MAJOR: usize = 1;
        pub const TYPE: usize = 2;
        pub const RESERVED1: usize = 3;
        pub const PAYLOAD_VERSION: usize = 4;
        pub const RESERVED2: usize = 8;
        pub const TAIL: usize = 64;
    }
    pub const EVENT_MAGIC: u32 = 202;
    pub const EVENT_MAGIC_END: u32 = 186;
    /// Byte offsets; XRT NPU3_EventTrace.md, EventTraceNpu3.cpp.
    pub mod event_header {
        pub const SIZE: usize = 8;
        pub const MAGIC: usize = 0;
        pub const PAYLOAD_WORDS: usize = 1;
        pub const SEQUENCE: usize = 2;
        pub const RESERVED: usize = 4;
    }
    /// Byte offsets; XRT NPU3_EventTrace.md; words of arguments follow.
    pub mod event {
        pub const SIZE: usize = 12;
        pub const TIMESTAMP: usize = 0;
        pub const EVENT_ID: usize = 8;
    }
    /// Byte offsets; XRT NPU3_EventTrace.md.
    pub mod event_footer {
        pub const SIZE: usize = 8;
        pub const RESERVED: usize = 0;
        pub const SEQUENCE: usize = 3;
        pub const PAYLOAD_WORDS: usize = 5;
        pub const MAGIC: usize = 7;
    }
    pub mod ring_type {
        pub const LOG: u32 = 1;
        pub const TRACE: u32 = 2;
    }
    pub mod category {
        pub const CONTEXT: u32 = 0;
        pub const DOORBELL: u32 = 1;
        pub const COMMAND: u32 = 2;
        pub const POWER: u32 = 3;
        pub const MESSAGE: u32 = 4;
    }
    pub mod event_id {
        pub const CONTEXT_CREATED: u32 = 1;
        pub const CONTEXT_DESTROYED: u32 = 2;
        pub const DOORBELL: u32 = 3;
        pub const COMMAND_STARTED: u32 = 4;
        pub const COMMAND_ENDED: u32 = 5;
        pub const DPM_LEVEL: u32 = 6;
        pub const MESSAGE: u32 = 7;
    }
}

/// From `fauxdna.abi.uapi`.
#[rustfmt::skip]
pub mod uapi {
    /// Byte offsets; Linux 7.2 include/uapi/drm/amdxdna_accel.h.
    pub mod amdxdna_drm_wait_cmd {
        pub const SIZE: usize = 16;
        pub const HWCTX: usize = 0;
        pub const TIMEOUT: usize = 4;
        pub const SEQ: usize = 8;
    }
    pub mod ioctl {
        pub const WAIT_CMD: u32 = 0x40106449;
    }
    pub const AMD_WAIT_CMD: u32 = 0xc0106449;
}
