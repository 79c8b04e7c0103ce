//! APPLY_OFFSET: arguments' addresses into the buffer descriptors of a page's copy.

use super::ExecBuf;
use super::dma::BD_SIZE;
use super::page::{INSTRUCTION_WORDS, Page};
use crate::abi::array::{SHIM_ADDRESS_OFFSET, shim_bd};
use crate::abi::control_code::{NO_ARGUMENT_OFFSET, apply_offset_57, apply_offset_pl, uc_bd};
use crate::memory::HostMemory;

/// A shim BD address has 57 bits.
const ADDRESS_MASK: u64 = (1 << 57) - 1;

/// The address that `offset` (in words into the arguments) names; `None` when the host has patched the BDs itself.
fn argument(exec: &ExecBuf, offset: u32, host: &dyn HostMemory) -> Result<Option<u64>, String> {
    if exec.args_length == 0 {
        return Ok(None);
    }
    if offset == NO_ARGUMENT_OFFSET {
        return Ok(Some(exec.code));
    }
    let at = 4 * u64::from(offset);
    if at + 8 > u64::from(exec.args_length) {
        return Err(format!(
            "argument {} lies beyond the {} bytes of arguments",
            offset / 2,
            exec.args_length
        ));
    }
    let mut value = [0; 8];
    let address = exec.args.wrapping_add(at);
    host.read(address, &mut value)
        .map_err(|fault| format!("argument {}: {fault}", offset / 2))?;
    Ok(Some(u64::from_le_bytes(value)))
}

fn outside(table: u32, page: &Page) -> String {
    format!(
        "BD table at {table:#x} is unaligned or leaves the page's {:#x} bytes in use",
        page.limit()
    )
}

/// APPLY_OFFSET_57: adds an argument, and what XRT adds, to the addresses of consecutive shim BDs.
pub(crate) fn shim_bds(
    page: &mut Page,
    exec: &ExecBuf,
    words: &[u32; INSTRUCTION_WORDS],
    host: &dyn HostMemory,
) -> Result<(), String> {
    let Some(value) = argument(exec, apply_offset_57::OFFSET.get(words), host)? else {
        return Ok(());
    };
    let value = value.wrapping_add(u64::from(SHIM_ADDRESS_OFFSET));
    let (table, count) = (apply_offset_57::TABLE.get(words), apply_offset_57::COUNT.get(words));
    let Some(bds) = page.words_mut(table, count * shim_bd::WORDS as u32) else {
        return Err(outside(table, page));
    };
    for bd in bds.chunks_exact_mut(shim_bd::WORDS) {
        let old = u64::from(shim_bd::ADDRESS_HIGH.get(bd)) << 32 | u64::from(shim_bd::ADDRESS_LOW.get(bd));
        let new = old.wrapping_add(value) & ADDRESS_MASK;
        shim_bd::ADDRESS_HIGH.set(bd, (new >> 32) as u32);
        shim_bd::ADDRESS_LOW.set(bd, new as u32);
    }
    Ok(())
}

/// APPLY_OFFSET_PL (chosen): adds an argument to the remote addresses of consecutive uC-DMA BDs.
pub(crate) fn uc_bds(
    page: &mut Page,
    exec: &ExecBuf,
    words: &[u32; INSTRUCTION_WORDS],
    host: &dyn HostMemory,
) -> Result<(), String> {
    let Some(value) = argument(exec, apply_offset_pl::OFFSET.get(words), host)? else {
        return Ok(());
    };
    let (table, count) = (apply_offset_pl::TABLE.get(words), apply_offset_pl::COUNT.get(words));
    let Some(bds) = page.words_mut(table, count * (BD_SIZE / 4)) else {
        return Err(outside(table, page));
    };
    for bd in bds.chunks_exact_mut(uc_bd::WORDS) {
        let old = u64::from(uc_bd::REMOTE_HIGH.get(bd)) << 32 | u64::from(uc_bd::REMOTE_LOW.get(bd));
        let new = old.wrapping_add(value);
        uc_bd::REMOTE_HIGH.set(bd, (new >> 32) as u32);
        uc_bd::REMOTE_LOW.set(bd, new as u32);
    }
    Ok(())
}
