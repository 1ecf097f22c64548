"""Whose voice is heard, when addresses and sources change for good and bad reasons."""

from __future__ import annotations

from offhook.rtp.source import LOCK_PACKETS, SourceGuard, SsrcFollower, Stream

OFFERED = ("192.0.2.1", 4000)
MAPPED = ("198.51.100.7", 61000)
STRANGER = ("203.0.113.66", 5555)


def test_before_the_first_packet_the_sdp_says_where_to_send() -> None:
    assert SourceGuard(OFFERED).target == OFFERED
    assert SourceGuard(None).target is None


def test_the_first_packet_shows_the_callers_real_address() -> None:
    guard = SourceGuard(OFFERED)
    assert guard.accept(MAPPED)
    assert guard.target == MAPPED


def test_a_strangers_rtp_is_dropped_once_the_call_is_settled() -> None:
    guard = SourceGuard(OFFERED)
    assert all(guard.accept(MAPPED) for _ in range(LOCK_PACKETS))
    assert guard.settled == MAPPED
    assert not any(guard.accept(STRANGER) for _ in range(1000))
    assert guard.accept(MAPPED)
    assert guard.target == MAPPED
    assert guard.strangers == 1000


def test_a_stray_packet_before_the_caller_is_only_heard_until_the_caller_speaks() -> None:
    guard = SourceGuard(OFFERED)
    guard.accept(STRANGER)
    assert guard.accept(OFFERED)
    assert guard.target == OFFERED
    assert not guard.accept(STRANGER)


def test_a_stranger_who_was_quicker_than_the_caller_does_not_own_the_call() -> None:
    guard = SourceGuard(OFFERED)
    for _ in range(1000):
        guard.accept(STRANGER)
    assert guard.accept(OFFERED)
    assert guard.target == guard.settled == OFFERED
    assert not any(guard.accept(STRANGER) for _ in range(1000))
    assert guard.target == OFFERED


def test_a_stray_packet_before_a_caller_behind_nat_costs_four_packets() -> None:
    guard = SourceGuard(OFFERED)
    guard.accept(STRANGER)
    assert [guard.accept(MAPPED) for _ in range(LOCK_PACKETS)] == [False] * 4 + [True]
    assert guard.settled == MAPPED
    assert guard.target == MAPPED


def test_an_intruder_cannot_displace_a_caller_who_keeps_sending() -> None:
    guard = SourceGuard(OFFERED)
    guard.accept(MAPPED)
    for _ in range(LOCK_PACKETS):
        assert not guard.accept(STRANGER)
        assert not guard.accept(STRANGER)
        assert guard.accept(MAPPED)
    assert guard.target == MAPPED


def test_only_a_new_offer_lets_the_address_move() -> None:
    guard = SourceGuard(OFFERED)
    for _ in range(LOCK_PACKETS):
        guard.accept(OFFERED)
    guard.renegotiated(MAPPED)
    assert guard.settled is None
    assert guard.target == MAPPED
    assert guard.accept(MAPPED)


def test_a_reinvite_with_the_same_address_keeps_sending_where_it_was_heard() -> None:
    guard = SourceGuard(OFFERED)
    for _ in range(LOCK_PACKETS):
        guard.accept(MAPPED)
    guard.renegotiated(OFFERED)
    assert guard.target == MAPPED
    assert guard.accept(MAPPED)
    other = ("198.51.100.7", 61111)
    assert [guard.accept(other) for _ in range(LOCK_PACKETS)] == [False] * 4 + [True]


def test_ipv6_addresses_match_without_their_scope() -> None:
    guard = SourceGuard(("2001:db8::1", 4000))
    guard.accept(("2001:db8::2", 1, 0, 0))
    assert guard.accept(("2001:db8::1", 4000, 0, 0))
    assert guard.target == ("2001:db8::1", 4000, 0, 0)


def test_a_new_ssrc_is_followed_at_once() -> None:
    follower = SsrcFollower()
    assert follower.follow(1, 0.0) is Stream.NEW
    assert follower.follow(1, 0.02) is Stream.SAME
    assert follower.follow(2, 0.04) is Stream.NEW
    assert follower.changes == 1


def test_two_streams_side_by_side_do_not_chop_each_other_up() -> None:
    follower = SsrcFollower()
    follower.follow(1, 0.0)
    assert follower.follow(2, 0.01) is Stream.NEW
    for step in range(500):
        assert follower.follow(1, 0.02 + step * 0.02) is Stream.STALE
        assert follower.follow(2, 0.03 + step * 0.02) is Stream.SAME


def test_a_source_that_comes_back_after_a_silence_is_heard_again() -> None:
    follower = SsrcFollower()
    follower.follow(1, 0.0)
    follower.follow(2, 1.0)
    assert follower.follow(1, 5.0) is Stream.NEW


def test_a_source_that_was_replaced_is_believed_again_once_another_address_is_heard() -> None:
    follower = SsrcFollower()
    follower.follow(1, 0.0)
    follower.follow(2, 0.5)
    assert follower.follow(1, 0.52) is Stream.STALE
    follower.moved()
    assert follower.follow(1, 0.54) is Stream.NEW
    assert follower.follow(2, 0.56) is Stream.STALE
