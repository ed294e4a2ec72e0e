//! What only the simulator promises; what every driver promises is tested in
//! `driver::contract`.

use bytes::Bytes;

use super::*;

/// Runs turns until nothing is left to happen; what was reported, in order.
fn settle(net: &SimNet, driver: &mut SimDriver, log: &mut Vec<String>) {
    let mut slot = 0;
    for _ in 0..100_000 {
        if net.is_quiet() {
            return;
        }
        driver.wait(None).unwrap();
        let mut sockets = Vec::new();
        while let Some(event) = driver.next() {
            log.push(match &event {
                Event::Accepted { peer, .. } => format!("accepted {peer}"),
                Event::Data(id, bytes) => format!("{id:?} {bytes:?}"),
                Event::Sent(id) => format!("{id:?} sent"),
                Event::Gone(id, why) => format!("{id:?} {why:?}"),
            });
            if let Event::Accepted { socket, .. } = event {
                sockets.push(socket);
            }
        }
        for socket in sockets {
            driver.attach(ConnId::new(0, slot, 1), socket).unwrap();
            slot += 1;
        }
    }
    panic!("never quiet");
}

fn connected(net: &SimNet, driver: &mut SimDriver, id: ConnId) -> PeerId {
    let peer = net.connect(driver.number());
    loop {
        driver.wait(None).unwrap();
        if let Some(Event::Accepted { socket, .. }) = driver.next() {
            driver.attach(id, socket).unwrap();
            return peer;
        }
    }
}

fn story(seed: u64, faults: Faults) -> Vec<String> {
    let net = SimNet::new(seed, faults);
    let mut driver = net.driver();
    let mut log = Vec::new();
    let peers = [(); 3].map(|()| net.connect(0));
    for (index, &peer) in peers.iter().enumerate() {
        net.write(peer, &vec![index as u8; 300]);
    }
    settle(&net, &mut driver, &mut log);
    net.finish(peers[0]);
    net.write(peers[2], b"last words");
    net.reset(peers[2]);
    settle(&net, &mut driver, &mut log);
    log
}

#[test]
fn one_seed_tells_one_story() {
    assert_eq!(story(5, Faults::all()), story(5, Faults::all()));
    assert_ne!(story(5, Faults::all()), story(6, Faults::all()));
}

#[test]
fn without_faults_everything_arrives_whole_and_in_turn() {
    let log = story(1, Faults::none());
    assert_eq!(log.len(), 9, "{log:#?}");
    assert!(log[0].starts_with("accepted") && log[2].starts_with("accepted"));
    assert_eq!(log[6], "0:0#1 Eof");
    assert_eq!(log[8], "0:2#1 Reset");
}

#[test]
fn a_racing_reset_loses_only_the_last_bytes() {
    let faults = Faults { racing_resets_percent: 100, ..Faults::none() };
    let mut lost = 0;
    for seed in 0..50 {
        let net = SimNet::new(seed, faults);
        let mut driver = net.driver();
        let peer = connected(&net, &mut driver, ConnId::new(0, 0, 1));
        let written = (0..100).collect::<Vec<u8>>();
        net.write(peer, &written);
        net.reset(peer);
        let mut arrived = Vec::new();
        driver.wait(None).unwrap();
        while let Some(event) = driver.next() {
            match event {
                Event::Data(_, bytes) => arrived.extend_from_slice(bytes),
                other => assert!(matches!(other, Event::Gone(_, Gone::Reset)), "{other:?}"),
            }
        }
        assert!(written.starts_with(&arrived));
        lost += usize::from(arrived.len() < written.len());
    }
    assert!(lost > 25);
}

#[test]
fn spurious_wakes_are_bounded() {
    let net = SimNet::new(3, Faults { spurious_wakes_percent: 100, ..Faults::none() });
    let mut driver = net.driver();
    net.connect(0);
    let mut empty = 0;
    driver.wait(None).unwrap();
    while driver.next().is_none() {
        empty += 1;
        driver.wait(None).unwrap();
    }
    assert_eq!(empty, Faults::SPURIOUS_IN_A_ROW);
}

#[test]
fn a_stalled_window_takes_exactly_its_bytes() {
    let net = SimNet::new(4, Faults::none());
    let mut driver = net.driver();
    let id = ConnId::new(0, 0, 1);
    let peer = connected(&net, &mut driver, id);
    net.stall_after(peer, 5);
    let text = Bytes::from_static(b"0123456789");
    assert_eq!(driver.send(id, &[Slice::whole(&text)]), Sending::Pending);
    assert_eq!(net.take(peer), b"01234");
    assert!(net.is_quiet());
    net.resume(peer);
    assert!(!net.is_quiet());
    driver.wait(None).unwrap();
    assert!(matches!(driver.next(), Some(Event::Sent(sent)) if sent == id));
    assert_eq!(net.take(peer), b"56789");
}

#[test]
fn the_asked_timeout_is_recorded_per_driver() {
    let net = SimNet::new(0, Faults::none());
    let (mut one, mut two) = (net.driver(), net.driver());
    one.wait(Some(Duration::from_millis(7))).unwrap();
    two.wait(None).unwrap();
    assert_eq!(net.asked_timeout(0), Some(Duration::from_millis(7)));
    assert_eq!(net.asked_timeout(1), None);
}

#[test]
fn drivers_of_one_world_have_their_own_peers() {
    let net = SimNet::new(0, Faults::none());
    let (mut one, mut two) = (net.driver(), net.driver());
    let first = connected(&net, &mut one, ConnId::new(0, 0, 1));
    let second = connected(&net, &mut two, ConnId::new(1, 0, 1));
    assert_ne!(net.address(first), net.address(second));
    drop(one);
    assert_eq!(net.server_end(first), ServerEnd::Closed);
    assert_eq!(net.server_end(second), ServerEnd::Open);
    assert_eq!(net.server_end(net.connect(0)), ServerEnd::Closed);
}
