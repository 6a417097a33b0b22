//! The scenarios that every back end passes, in virtual time on one simulated host.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod scenarios;

use scenarios::{runtime, tasks, tcp, timers, udp_and_names};

#[test]
fn timers_fire_in_order_and_not_early() {
    timers::fire_in_order_and_not_early(runtime());
}

#[test]
fn timers_in_the_past_fire_at_once() {
    timers::in_the_past_fire_at_once(runtime());
}

#[test]
fn timers_can_be_set_earlier_later_and_again() {
    timers::can_be_set_earlier_later_and_again(runtime());
}

#[test]
fn timers_set_earlier_wake_a_task_that_waits_already() {
    timers::set_earlier_wake_a_task_that_waits_already(runtime());
}

#[test]
fn timers_can_be_dropped_while_they_wait() {
    timers::can_be_dropped_while_they_wait(runtime());
}

#[test]
fn timers_at_the_end_of_time_neither_panic_nor_fire() {
    timers::at_the_end_of_time_neither_panic_nor_fire(runtime());
}

#[test]
fn timers_follow_one_clock_and_the_calendar() {
    timers::follow_one_clock_and_the_calendar(runtime());
}

#[test]
fn tasks_run_at_once_and_are_joined() {
    tasks::run_at_once_and_are_joined(runtime());
}

#[test]
fn tasks_are_cancelled_with_their_group() {
    tasks::are_cancelled_with_their_group(runtime());
}

#[test]
fn tasks_end_when_their_handle_is_dropped() {
    tasks::end_when_their_handle_is_dropped(runtime());
}

#[test]
fn tasks_that_panic_are_counted_and_harm_nobody() {
    tasks::that_panic_are_counted_and_harm_nobody(runtime());
}

#[test]
fn tasks_spawned_bare_may_panic_too() {
    tasks::spawned_bare_may_panic_too(runtime());
}

#[test]
fn tasks_spawn_others_and_sleep() {
    tasks::spawn_others_and_sleep(runtime());
}

#[test]
fn tasks_get_fresh_seeds() {
    tasks::get_fresh_seeds(runtime());
}

#[test]
fn tcp_echo_with_a_slow_reader() {
    tcp::echo_with_a_slow_reader(runtime());
}

#[test]
fn tcp_writes_wait_for_the_reader() {
    tcp::writes_wait_for_the_reader(runtime());
}

#[test]
fn tcp_half_close_leaves_the_other_half_open() {
    tcp::half_close_leaves_the_other_half_open(runtime());
}

#[test]
fn tcp_several_slices_go_out_in_one_write() {
    tcp::several_slices_go_out_in_one_write(runtime());
}

#[test]
fn tcp_a_port_without_listener_refuses() {
    tcp::a_port_without_listener_refuses(runtime());
}

#[test]
fn tcp_many_connections_are_accepted() {
    tcp::many_connections_are_accepted(runtime());
}

#[test]
fn tcp_both_sides_know_the_addresses() {
    tcp::both_sides_know_the_addresses(runtime());
}

#[test]
fn tcp_a_cut_connection_is_an_error_or_an_end() {
    tcp::a_cut_connection_is_an_error_or_an_end(runtime());
}

#[test]
fn tcp_dialing_from_the_port_of_a_listener() {
    tcp::dialing_from_the_port_of_a_listener(runtime());
}

#[test]
fn tcp_a_port_that_is_taken_is_an_error() {
    tcp::a_port_that_is_taken_is_an_error(runtime());
}

#[test]
fn tcp_ipv6_wildcard_leaves_the_ipv4_port_alone() {
    tcp::ipv6_wildcard_leaves_the_ipv4_port_alone(runtime());
}

#[test]
fn tcp_a_cancelled_accept_loses_nobody() {
    tcp::a_cancelled_accept_loses_nobody(runtime());
}

#[test]
fn tcp_halves_in_two_tasks_do_not_starve_each_other() {
    tcp::halves_in_two_tasks_do_not_starve_each_other(runtime());
}

#[test]
fn datagrams_arrive_whole() {
    udp_and_names::datagrams_arrive_whole(runtime());
}

#[test]
fn a_datagram_wakes_a_task_that_waits() {
    udp_and_names::a_datagram_wakes_a_task_that_waits(runtime());
}

#[test]
fn a_long_datagram_is_cut_off() {
    udp_and_names::a_long_datagram_is_cut_off(runtime());
}

#[test]
fn localhost_is_resolved() {
    udp_and_names::localhost_is_resolved(runtime());
}

#[test]
fn a_literal_address_is_its_own_name() {
    udp_and_names::a_literal_address_is_its_own_name(runtime());
}

#[test]
fn a_bad_name_is_an_error() {
    udp_and_names::a_bad_name_is_an_error(runtime());
}

#[test]
fn interfaces_include_loopback() {
    udp_and_names::interfaces_include_loopback(runtime());
}
