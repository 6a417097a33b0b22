//! The list of the scenarios, once for all back ends.

/// Makes a test of each scenario, on the back end that the function `$runtime` gives.
macro_rules! every_scenario {
    ($runtime:ident) => {
        every_scenario! {
            $runtime:
            timers {
                fire_in_order_and_not_early
                in_the_past_fire_at_once
                can_be_set_earlier_later_and_again
                set_earlier_wake_a_task_that_waits_already
                can_be_dropped_while_they_wait
                at_the_end_of_time_neither_panic_nor_fire
                follow_one_clock_and_the_calendar
            }
            tasks {
                run_at_once_and_are_joined
                are_cancelled_with_their_group
                end_when_their_handle_is_dropped
                that_panic_are_counted_and_harm_nobody
                spawned_bare_may_panic_too
                spawn_others_and_sleep
                get_fresh_seeds
            }
            tcp {
                echo_with_a_slow_reader
                writes_wait_for_the_reader
                half_close_leaves_the_other_half_open
                several_slices_go_out_in_one_write
                a_port_without_listener_refuses
                many_connections_are_accepted
                both_sides_know_the_addresses
                a_cut_connection_is_an_error_or_an_end
                dialing_from_the_port_of_a_listener
                a_port_that_is_taken_is_an_error
                ipv6_wildcard_leaves_the_ipv4_port_alone
                a_cancelled_accept_loses_nobody
                halves_in_two_tasks_do_not_starve_each_other
            }
            udp_and_names {
                datagrams_arrive_whole
                a_datagram_wakes_a_task_that_waits
                a_long_datagram_is_cut_off
                localhost_is_resolved
                a_literal_address_is_its_own_name
                a_bad_name_is_an_error
                interfaces_include_loopback
            }
        }
    };
    ($runtime:ident: $($noun:ident { $($scenario:ident)+ })+) => {
        $(mod $noun {
            $(
                #[test]
                fn $scenario() {
                    crate::scenarios::$noun::$scenario(super::$runtime());
                }
            )+
        })+
    };
}
