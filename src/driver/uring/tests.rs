//! What is the ring's own; what every driver promises is tested in
//! `driver::contract`.
