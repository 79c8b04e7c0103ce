//! Control code in memory of a process that loses pages: its packet fails, and neither its context nor another does.

use super::*;
use crate::memory::{PAGE_SIZE, Torn};

#[test]
fn code_whose_second_half_is_lost_fails_its_packet_alone() {
    let engine = Engine::new(3, Pace::Fast, None).unwrap();
    let (victim, witness) = (Tenant::new(&engine, 0), Tenant::new(&engine, 0));
    let torn = Torn::new(2);
    // More than one page of the process: 600 instructions of 8 bytes.
    let sleep: Vec<u8> = [opcode::SLEEP as u8, 0, 0, 0, 0, 0, 0, 0].repeat(600);
    torn.write(0, &page(&[&sleep]));
    // The queue in mapped memory, the code in the process's.
    let process = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/proc/self/mem")
        .unwrap();
    let code = ADDRESS + BYTES;
    victim
        .space
        .map(
            code,
            process.as_raw_fd(),
            torn.address(),
            2 * PAGE_SIZE,
            PROT_READ | PROT_WRITE,
        )
        .unwrap();
    let run = |tenant: &Tenant| tenant.queue.spin(tenant.submit(code), PATIENCE).unwrap();
    for round in 0..3 {
        torn.keep(2);
        assert_eq!(run(&victim), completion_state::COMPLETED);
        torn.keep(1);
        let word = run(&victim);
        assert_eq!(word & 15, completion_state::ERROR, "{word:#x}");
        let (errors, message) = engine
            .with(victim.id, |context| (context.outcome().1, context.outcome().2.to_owned()))
            .unwrap();
        assert_eq!(errors, round + 1);
        // What follows the page's header of 16 bytes.
        assert!(message.contains(&format!("{:#x}", code + 16)), "{message}");
        assert_eq!(witness.run(), completion_state::COMPLETED);
        // Code in its own memory runs.
        assert_eq!(victim.run(), completion_state::COMPLETED);
        torn.keep(2);
        torn.write(0, &page(&[&sleep]));
    }
    assert_eq!(engine.with(witness.id, |context| context.outcome().1).unwrap(), 0);
}
