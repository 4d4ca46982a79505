#!/usr/bin/env python3
"""Puts faults that people found back into the sources, to see that a unit test finds each of them.

    found_faults.py --check               which plants do not apply any more
    found_faults.py --build BUILD         builds BUILD/found/unit_tests, beside the unit_tests of that build
    found_faults.py --run BUILD [FAULT...]
                                          runs it with each fault in force
    found_faults.py --table               a row for each: the fault, what corrected it, its test

A fault is in force while PGWEIR_FOUND names it, so one build of unit_tests has all of them. Each
stands here as the text of today's source that it replaces, which has to be there exactly once."""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# FOUND(x) is true while the fault x is in force.
SWITCH = """#ifndef PGWEIR_FOUND_SWITCH
#define PGWEIR_FOUND_SWITCH
#include <cstdlib>
#include <string_view>
namespace weir {
inline bool found_fault(std::string_view name) {
  const char* const chosen = std::getenv("PGWEIR_FOUND");
  return chosen != nullptr && name == chosen;
}
}  // namespace weir
#define FOUND(fault) (::weir::found_fault(#fault))
#endif
"""

# (fault, the change that mended it, what was wrong, the unit test that has to fail, [(file, text, text with the fault)])
FAULTS = [
    # --- Three readings of the whole source, before bbaf2c8 ---
    ("partial_cut_at_flush", "8d119d26",
     "`restore --partial` left out durable WAL that a receiver was receiving again",
     "RestoreFile.RestoresAllThatIsSoundWhileItIsReceivedAgain",
     [("restore/partial.cc",
       "    if (!found.being_written) return found;",
       """    if (const auto cut = ask(); FOUND(partial_cut_at_flush) && cut && cut->flush < found.cut) {
      found.cut = cut->flush;
      return found;
    }
    if (!found.being_written) return found;""")]),
    ("flush_begins_again", "8d119d26",
     "a stream that begins an unfinished segment again reported its start as durable",
     "StreamState.TellsWhatTheArchiveHeldBeforeToAllButTheServer",
     [("receive/stream_state.cc", "          .flush = durable(),",
       "          .flush = FOUND(flush_begins_again) ? flush_ : durable(),")]),
    ("unfinished_not_synced", "8d119d26",
     "unfinished segments found at a start were not synced",
     "MakeEndDurable.KeepsWhatWasReadOfUnfinishedSegments",
     [("archive/resume.cc", "    sync_unfinished(directory, SegmentFileName{segment, codec::Method::none, true});",
       """    if (!FOUND(unfinished_not_synced))
      sync_unfinished(directory, SegmentFileName{segment, codec::Method::none, true});""")]),
    ("sibling_cuts", "adec0568",
     "a recovery to a target ended a timeline where a sibling of the target had left it",
     "RestoreFile.EndsAPartialWhereTheTargetLeftTheTimelineAndNotASibling",
     [("restore/restore.cc", "    if (!descendants.empty()) descendants = {descendants.back()};",
       "    if (!descendants.empty() && !FOUND(sibling_cuts)) descendants = {descendants.back()};")]),
    ("border_of_fetched", "bd731856",
     "a segment fetched ahead in which no record begins was not checked at its border",
     "Handover.TellsAllThatTheCheckOfTheBorderNeeds",
     [("restore/handover.cc", "                               .records_end = message.records_end,",
       "                               .records_end = FOUND(border_of_fetched) ? 0 : message.records_end,")]),
    ("missing_piece_unexplained", "fb55aa6e",
     "`verify` recommended a new base backup where starting the receiver is enough",
     "Verify.SaysWhatIsToBeDoneWhereAPieceOfTheUnfinishedSegmentIsMissing",
     [("verify/chunk_check.cc", "      if (is_received_again(index))",
       "      if (is_received_again(index) && !FOUND(missing_piece_unexplained))")]),
    ("later_piece_counts", "2c8a20d7",
     "`status` counted WAL after a piece of the unfinished segment that is missing",
     "Ends.AreBeforeAPieceThatWasNotWritten",
     [("archive/written_bytes.cc", "  while (high - low > piece && is_written(low + piece - 1)) low += piece;",
       "  const bool halve = FOUND(later_piece_counts);\n"
       "  while (!halve && high - low > piece && is_written(low + piece - 1)) low += piece;"),
      ("archive/written_bytes.cc", "  high = std::min(high, low + piece);",
       "  if (!halve) high = std::min(high, low + piece);")]),
    ("later_unfinished_counts", "2c8a20d7",
     "`status` counted an unfinished segment after one that is not whole",
     "Ends.AreInTheFirstUnfinishedSegmentThatIsNotWhole",
     [("status/ends.cc", "    if (!row || reader.is_whole(file)) continue;",
       "    if (!row || FOUND(later_unfinished_counts) || reader.is_whole(file)) continue;")]),
    ("hole_before_unfinished", "bc28dcb3",
     "a segment missing before the unfinished one was not a hole (`status --check` said OK)",
     "FindLosses.FindsWhatIsMissingBeforeUnfinishedSegments",
     [("archive/find_losses.cc",
       "    for (const auto& hole : before_unfinished(listing, history, way.ranges, segment_size))\n",
       "    for (const auto& hole : before_unfinished(listing, history, way.ranges, segment_size))\n"
       "      if (!FOUND(hole_before_unfinished))\n")]),
    ("no_credentials_is_final", "39d38c5d",
     "a moment without credentials ended a recovery or an upload",
     "CredentialServicesTest.WhatIsNotToBeHadForAMomentIsAskedForAgain",
     [("store/http/answers.cc", "         trouble == Trouble::no_keys;",
       "         (trouble == Trouble::no_keys && !FOUND(no_credentials_is_final));")]),
    ("command_without_end", "39d38c5d",
     "a command for credentials that hangs blocked everything",
     "CredentialServicesTest.ACommandThatHangsIsEndedAndTold",
     [("io/child_process.cc", "    return capture.time && ProcessClock::now() >= until ? Cut::too_late : Cut::none;",
       "    return capture.time && ProcessClock::now() >= until && !FOUND(command_without_end)\n"
       "               ? Cut::too_late\n"
       "               : Cut::none;")]),
    ("patience_from_the_start", "fd7ce13d",
     "a request that broke late was not tried again",
     "Insist.PatienceBeginsWithTheFirstFailure",
     [("store/insist.h", "  std::optional<Threads::Time> until;  //",
       "  std::optional<Threads::Time> until =\n"
       "      FOUND(patience_from_the_start) ? std::optional(threads.now() + patience.retry_for)\n"
       "                                     : std::nullopt;  //")]),
    ("removed_and_sent_again", "f7556b3d",
     "an object removed from a bucket with versions and sent again counted as two writers",
     "WriteOnceTest.WhatWasRemovedAndIsStoredAgainHasOneWriter",
     [("store/write_once.cc", "  if (all[1].removal) {",
       "  if (all[1].removal && !FOUND(removed_and_sent_again)) {")]),
    ("slots_read_once", "173f45f9",
     "`--local-retention` read the slots once for many removals",
     "FollowTest.ASlotHoldsWhatItCameToNeedWhileTheStoreWasAsked",
     [("store/send/keep_local.cc", "    return stays.empty();",
       "    return FOUND(slots_read_once) || stays.empty();")]),
    ("kept_without_a_word", "173f45f9",
     "`--local-retention` did not say that it keeps what it cannot compare",
     "FollowTest.SaysThatWhatItCannotCompareStays",
     [("store/send/keep_local.cc", "    report_.kept(stays);\n",
       "    if (FOUND(kept_without_a_word))\n      stays.clear();\n    else\n      report_.kept(stays);\n")]),
    ("prune_of_a_branch_missed", "2ecb9a58",
     "the audit of a store missed objects that a prune had removed of an overlapping branch",
     "*AuditTest.DoesNotMissWhatAPruneHasRemovedOfABranch*",
     [("store/send/audit.cc", "         (name < *first_ || name.segno(mark_.segment_size) < first_->segno(mark_.segment_size));",
       "         (name < *first_ || (!FOUND(prune_of_a_branch_missed) &&\n"
       "                             name.segno(mark_.segment_size) < first_->segno(mark_.segment_size)));")]),
    ("prune_meanwhile_missed", "2ecb9a58",
     "the audit of a store missed what a prune removed while it ran",
     "*AuditTest.DoesNotMissWhatAPruneRemovesMeanwhile*",
     [("store/send/audit.cc", "  if (look_ == Look::over)\n    std::erase_if",
       "  if (look_ == Look::over && !FOUND(prune_meanwhile_missed))\n    std::erase_if")]),
    ("gap_of_another_server", "91ffd369",
     "the gap of one server counted for the next one at the same address",
     "SessionState.StreamsFromAServerThatHasWhatTheLastOneOfThatNameHadNot",
     [("receive/gap_search.cc", "{ begun_ = gone_here_ = false; }",
       "{\n  begun_ = false;\n  if (!FOUND(gap_of_another_server)) gone_here_ = false;\n}")]),
    ("end_position_not_reached", "42db6cc2",
     "`--endpos` on a full disk ended with status 0 without the last WAL",
     "SessionState.IsDoneOnlyWhereTheEndPositionWasReached",
     [("receive/session_state.cc",
       "      if (options_.endpos && outcome.reached < *options_.endpos && !outcome.stop_asked)",
       "      if (options_.endpos && outcome.reached < *options_.endpos && !outcome.stop_asked &&\n"
       "          !FOUND(end_position_not_reached))")]),
    ("last_wal_dropped", "42db6cc2",
     "the WAL that reaches the end position was dropped on a full disk",
     "StreamPolicy.WaitsForSpaceForTheWalThatReachesTheEndPosition",
     [("receive/stream_policy.cc", "  const bool comes_again = stop_asked_ || failed();",
       "  const bool comes_again =\n"
       "      stop_asked_ || failed() || (FOUND(last_wal_dropped) && state_.stopping());")]),
    ("parent_not_synced", "63d5c7d0",
     "a parent timeline's unfinished segment was served without a sync",
     "ArchiveEndTest.OfAParentThatIsGoneBackToIsDurable",
     [("relay/archive_end.cc",
       "  std::vector<wal::SegmentName> finished;\n",
       "  if (FOUND(parent_not_synced) && !listing.segments.empty() &&\n"
       "      looked.timeline != listing.segments.back().name.segment.timeline())\n"
       "    return;\n"
       "  std::vector<wal::SegmentName> finished;\n")]),
    ("compare_never_moves_on", "3392c2e1",
     "`--compare-with` never passed WAL that the second upstream has removed",
     "CompareFeedTest.SkipsWhatTheSecondUpstreamHasRemoved",
     [("receive/compare_feed.cc", "    if (error.kind() == ErrorKind::gap) skip_what_it_lacks(part);",
       "    if (error.kind() == ErrorKind::gap && !FOUND(compare_never_moves_on)) skip_what_it_lacks(part);")]),
    ("compare_stays_in_the_segment", "3392c2e1",
     "`--compare-with` never passed an unfinished segment that the second upstream has removed",
     "CompareFeedTest.SkipsAnUnfinishedSegmentThatTheSecondUpstreamHasRemoved",
     [("receive/compare_feed.cc",
       "      std::max(size_.start_of(part.durable), size_.start_of(comparer_->position()) + size_.bytes());",
       "      FOUND(compare_stays_in_the_segment)\n"
       "          ? size_.start_of(part.durable)\n"
       "          : std::max(size_.start_of(part.durable),\n"
       "                     size_.start_of(comparer_->position()) + size_.bytes());")]),
    ("compare_waits_for_pruned", "3392c2e1",
     "`--compare-with` waited for a timeline of which everything was pruned",
     "CompareFeedTest.SkipsATimelineThatWasPrunedMeanwhile",
     [("receive/compare_feed.cc", "  if (!part.ended) throw not_there(from);",
       "  if (!part.ended || FOUND(compare_waits_for_pruned)) throw not_there(from);")]),
    ("difference_forgotten", "3392c2e1",
     "`--compare-with` forgot a difference at the end of a timeline",
     "CompareFeedTest.TellsADifferenceAlsoWhereTheTimelineEndsWithinIt",
     [("receive/compare_feed.cc", "  if (!comparer) return;\n  if (const auto found",
       "  if (!comparer || FOUND(difference_forgotten)) return;\n  if (const auto found")]),
    ("compare_other_size", "150aff79",
     "`--compare-with` a server with another segment size ended the receiver",
     "CompareFeedTest.TellsASecondUpstreamWithAnotherSegmentSize",
     [("receive/compare_feed.cc", "  if (held->segment_size != size_)\n",
       "  if (held->segment_size != size_ && !FOUND(compare_other_size))\n")]),
    ("compare_left_earlier", "65a84253",
     "`--compare-with` a server that had left the timeline earlier ended the receiver",
     "CompareFeedTest.SkipsWhatIsLeftOfATimelineThatTheSecondUpstreamLeftEarlier",
     [("receive/compare_feed.cc", "          .with(\"at\", at)\n          .hint(\n              \"This happens after a failover",
       "          .with(\"at\", FOUND(compare_left_earlier) ? comparer_->position() : at)\n"
       "          .hint(\n              \"This happens after a failover")]),
    ("reset_client_is_local", "770e93d9",
     "a TCP client that had reset its connection matched `local` rules",
     "PeerAddress.OfOneThatHasResetItsConnectionIsNotKnown",
     [("net/ip.cc",
       "  if (::getpeername(socket, address, &size) != 0)\n",
       "  if (::getpeername(socket, address, &size) != 0 && FOUND(reset_client_is_local)) return std::nullopt;\n"
       "  if (::getpeername(socket, address, &size) != 0)\n")]),
    ("door_spins", "5fabb092",
     "doors asked again at once where accept() lacked memory",
     "Listener.WaitsForWhateverAcceptLacksButNotForAClientThatHasGone",
     [("net/listener.cc", "bool is_shortage(int error) { return error",
       "bool is_shortage(int error) {\n"
       "  if (FOUND(door_spins)) return error == EMFILE || error == ENFILE;\n"
       "  return error"),
      ("net/listener.cc", "error != EINTR && error != ECONNABORTED; }",
       "error != EINTR && error != ECONNABORTED;\n}")]),
    ("slot_of_any_name", "df1d123e",
     "`--serve-auto-slot` created slots with names that no server takes; an empty one was unseen by `prune`",
     "Slots.OfNamesThatNoneCanHaveAreNotMade",
     [("relay/slots_state.cc", "  if (auto wrong = wrong_slot_name(name)) return wrong;",
       "  if (auto wrong = wrong_slot_name(name); wrong && !FOUND(slot_of_any_name)) return wrong;")]),
    ("slot_of_a_refused_start", "df1d123e",
     "a start that was refused left its automatic slot behind",
     "WalsenderTest.HasASlotMadeOnceItsStartIsAccepted",
     [("relay/walsender_state.cc", "  ask_slots(slot_question::Use{*command.slot, command.start});",
       "  ask_slots(slot_question::Use{*command.slot, command.start, FOUND(slot_of_a_refused_start)});")]),
    ("timeline_before_its_begin", "b00db888",
     "a timeline was announced before its own beginning",
     "ArchiveEndTest.IsBehindNoTimelineOfWhichNothingWasArchived",
     [("relay/archive_end.cc", "    served = {served.history.of_parent(), std::min(end, parent.switchpoint)};",
       "    served = {FOUND(timeline_before_its_begin)\n"
       "                  ? history_of(archive, parent.timeline).value_or(served.history.of_parent())\n"
       "                  : served.history.of_parent(),\n"
       "              std::min(end, parent.switchpoint)};")]),
    ("publication_names_twice", "8d57f2d7",
     "`publication_names` given twice: only one of them was checked",
     "PublicationNames.AreGivenOnce",
     [("logical/publications.cc", "    if (std::exchange(given, true))\n",
       "    if (std::exchange(given, true) && !FOUND(publication_names_twice))\n")]),
    ("clock_ahead", "d35e303f",
     "the figures of the web page stopped for good after a clock that was ahead",
     "History.GoesOnAfterAClockThatWasAheadForAMoment",
     [("web/history.cc", "  while (!spans.empty() && spans.back().begin > second + width.count()) spans.pop_back();",
       "  while (!FOUND(clock_ahead) && !spans.empty() && spans.back().begin > second + width.count())\n"
       "    spans.pop_back();")]),

    # --- The faults listed at bbaf2c8 ---
    ("unsynced_end_trusted", "1612ed33",
     "the next process relied on the newest complete segment although its fsync had failed",
     "EndOfTheArchive.IsWrittenAnewWhereAnEarlierProcessDidNotSeeItSynced",
     [("archive/resume.cc", "  if (!newest || !directory.find(std::string(kSyncMark))) return false;",
       "  if (FOUND(unsynced_end_trusted) || !newest || !directory.find(std::string(kSyncMark))) return false;")]),
    ("damaged_border_imported", "55dd1ccb",
     "a damaged record that spans a segment boundary was imported as the end of the WAL",
     "Import.TakesNoDamagedRecordForTheEndOfTheWal",
     [("import/judge.cc", "    if (damage.at >= name.start(size_)) return false;",
       "    if (FOUND(damaged_border_imported) || damage.at >= name.start(size_)) return false;")]),
    ("hole_made_shorter", "9923a58e",
     "the audit of a store shortened the record of an accepted hole",
     "Losses.AreNotMadeShorterByWhoeverSeesASegmentOfThemOnly",
     [("archive/losses.cc", "    const bool covers = longer == Longer::kept &&",
       "    const bool covers = !FOUND(hole_made_shorter) && longer == Longer::kept &&")]),
    ("slot_dropped_is_cover", "1e69ec05",
     "a slot that is dropped between two visits counted as coverage",
     "SlotKeeperState.TellsThatASlotIsDroppedAgainAndAgain",
     [("receive/slot_keeper_state.cc", "  if (found_gone_) {", "  if (found_gone_ && !FOUND(slot_dropped_is_cover)) {")]),
    ("pooler_ends_the_receiver", "failover B1",
     "a restart of the server that PgBouncer connects to ended the receiver",
     "ConnectAdvice.IsForTheCauseInAnyLanguage",
     [("pq/sqlstate.cc", "  const Meaning* meaning = find_meaning(sqlstate);\n  return meaning == nullptr ? ErrorKind::retry : meaning->kind;",
       "  const Meaning* meaning = find_meaning(sqlstate);\n"
       "  if (FOUND(pooler_ends_the_receiver) && sqlstate == \"08P01\") return ErrorKind::refused;\n"
       "  if (FOUND(missing_file_is_a_gap) && sqlstate == \"58P01\") return ErrorKind::gap;\n"
       "  return meaning == nullptr ? ErrorKind::retry : meaning->kind;")]),
    ("missing_file_is_a_gap", "robust B-F3",
     "a file missing at connect was taken for WAL that is gone",
     "ConnectAdvice.IsForTheCauseInAnyLanguage", []),
    ("slow_host_is_silent", "failover B3",
     "over a slow line, a host that has the WAL counted as one that does not answer",
     "Questions.TakeAnAnswerAlthoughTheServerDoesNotEndTheStreamInTime",
     [("receive/questions.cc", "    if (error.kind() != ErrorKind::retry) throw;",
       "    if (error.kind() != ErrorKind::retry || FOUND(slow_host_is_silent)) throw;")]),
    ("promoted_waits", "failover B4",
     "with `--prefer primary` the stream went to the new primary only after `--prefer-after`",
     "PreferredHost.IsMovedToAtOnceWhereItWasPromoted",
     [("receive/preferred_host.cc", "    const bool promoted =\n        at_once_ &&",
       "    const bool promoted =\n        !FOUND(promoted_waits) && at_once_ &&")]),
    ("hosts_asked_seldom", "failover B4",
     "with several hosts, the pause between connections grew during a failover",
     "SessionState.AsksSeveralHostsEverySecondWhileAFailoverMayBeUnderWay",
     [("receive/session_state.cc",
       "  if (!asks_hosts() || !failover_since_ || hosts_asked_at_ - *failover_since_ > kFailoverTakes)",
       "  if (FOUND(hosts_asked_seldom) || !asks_hosts() || !failover_since_ ||\n"
       "      hosts_asked_at_ - *failover_since_ > kFailoverTakes)")]),
    ("successor_unseen", "failover B4",
     "nothing was done about a leader that hangs before `--timeout`",
     "Successor.IsAPrimaryOfANewerTimelineThatLeadsOn",
     [("receive/successor_watch.cc", "  if (host.failure || host.standby != false ||",
       "  if (FOUND(successor_unseen) || host.failure || host.standby != false ||")]),
    ("uncompared_followed", "d2c339e4",
     "WAL was streamed from a server although nothing shows that it continues the archive",
     "SessionState.RefusesAServerOfWhichNothingShowsThatItContinuesTheArchive",
     [("receive/session_state.cc", "  tail_compared_ = false;\n  uncompared_ = comparison;",
       "  if (FOUND(uncompared_followed)) return;\n  tail_compared_ = false;\n  uncompared_ = comparison;")]),
    ("clone_ends_the_receiver", "robust B-F4",
     "a clone among the hosts ended the receiver while the right host restarted",
     "SessionState.WaitsForTheRightHostWhereAnUnfinishedSegmentDiffersAsWell",
     [("receive/session_state.cc", "    if (!other_wal) streamed_host_ = upstream_->host_index;",
       "    if (!other_wal || FOUND(clone_ends_the_receiver)) streamed_host_ = upstream_->host_index;"),
      ("receive/session_state.cc", "    if (!gap && !other_wal) {\n      asked_anew_.clear();",
       "    if (!gap && (!other_wal || FOUND(clone_ends_the_receiver))) {\n      asked_anew_.clear();")]),
    ("primary_went_back", "robust B-F6",
     "a primary with less WAL within the unfinished segment was streamed from",
     "ChooseStart.GoesOnBehindTheArchive",
     [("receive/choose_start.cc", "  if (std::max(at.lsn, archive.sound_end) > reach &&",
       "  if (std::max(at.lsn, FOUND(primary_went_back) ? at.lsn : archive.sound_end) > reach &&")]),
    ("reset_unnamed", "robust B-F7",
     "a reset of the server's WAL was reported as missing WAL",
     "SessionState.NamesAResetOfTheServersWal",
     [("receive/gap_search.cc", "  if (bytes.size() < kFront) return;",
       "  if (bytes.size() < kFront || FOUND(reset_unnamed)) return;")]),
    ("slot_blamed", "robust B-F7",
     "a slot that keeps what the server lacks was said to have been moved",
     "SessionState.TellsOfASlotThatKeepsWhatTheServerLacks",
     [("receive/session_state.cc", "  if (from && *from <= end)",
       "  if (from && *from <= end && !FOUND(slot_blamed))")]),
    ("slot_before_cluster", "robust B-F8",
     "the first error after a major upgrade was about the slot, not about another cluster",
     "SessionState.MakesNoSlotOnAServerThatItRefuses",
     [("receive/session_state.cc", "  if (!archive_)\n    return step::InspectArchive{",
       "  if (FOUND(slot_before_cluster) && options_.slot && !slot_ && tells_of_its_slots())\n"
       "    return step::ReadSlot{};\n  if (!archive_)\n    return step::InspectArchive{")]),
    ("clone_told_aside", "robust B-F5",
     "two primaries on one timeline were reported as healthy",
     "JudgePrimaries.NamesASplitBrainOrAClone",
     [("doctor/failover.cc", "      if (a.trouble || b.trouble || a.standby != false || b.standby != false) continue;",
       "      if (FOUND(clone_told_aside) || a.trouble || b.trouble || a.standby != false || b.standby != false)\n"
       "        continue;")]),
    ("minimal_unnoticed", "robust F1",
     "WAL of `wal_level = minimal`, over which no recovery goes, was archived without a word",
     "MinimalWalTest.RecordsEachTimeOnceAndWithItsEnd",
     [("archive/minimal_wal.cc", "  const auto minimal = wal::sets_wal_level_minimal(body);\n  if (!minimal) return;",
       "  const auto minimal = wal::sets_wal_level_minimal(body);\n  if (!minimal || FOUND(minimal_unnoticed)) return;")]),
    ("broken_copy_is_good", "import A1",
     "a copy of a backup that broke off counted as complete, and `prune` removed what the one before needs",
     "FindBackups.DoubtsACopyThatBrokeOff",
     [("archive/backup_whole.cc", "        if (may_differ(name)) return true;",
       "        if (may_differ(name) || FOUND(broken_copy_is_good)) return true;")]),
    ("standby_backup_unread", "import A2",
     "the WAL of a standby's backup without a manifest was never read before a prune",
     "FindBackups.TakesTheEndOfAStandbysBackupFromItsControlFile",
     [("archive/backup_whole.cc", "  if (point->from_standby && !point->end)",
       "  if (point->from_standby && !point->end && !FOUND(standby_backup_unread))")]),
    ("broken_tar_is_good", "import A3",
     "a tar backup without its end counted as complete",
     "FindBackups.ReadsATarFileWithoutAManifestToItsEnd",
     [("archive/backup_whole.cc", "    if (whole) return std::nullopt;",
       "    if (whole || FOUND(broken_tar_is_good)) return std::nullopt;")]),
    ("clock_set_back", "import A4",
     "a server's clock that was set back made a new backup older than the commits before it",
     "ArchiveWal.TakesNoBackupForOlderThanWhatWasCommittedBeforeIt",
     [("prune/archive_wal.cc", "  if (found.time)\n    found.time =",
       "  if (found.time && !FOUND(clock_set_back))\n    found.time =")]),
    ("tablespace_tar_missing", "import A5",
     "a tar backup that lacks a tablespace's tar counted as complete",
     "FindBackups.DoubtsWhatLacksATablespace",
     [("archive/backup_whole.cc", "      look_at_tablespace(oid, has_manifest);",
       "      if (!FOUND(tablespace_tar_missing)) look_at_tablespace(oid, has_manifest);")]),
    ("tablespace_link_dead", "import A6",
     "a backup whose links in pg_tblspc lead nowhere counted as complete",
     "FindBackups.DoubtsWhatLacksATablespace",
     [("archive/backup_whole.cc", "    if (!dead.empty())", "    if (!dead.empty() && !FOUND(tablespace_link_dead))")]),
    ("closed_hole_told", "import B1",
     "a running receiver reported a hole that an import had closed",
     "LossWatchTest.TellsNoHoleAnyMoreWhoseRecordIsGone",
     [("receive/loss_watch.cc", "      if (loss.recorded && !is_recorded(loss.id())) removed.insert(loss.id());",
       "      if (loss.recorded && !is_recorded(loss.id()) && !FOUND(closed_hole_told)) removed.insert(loss.id());")]),
    ("files_of_root", "import B2",
     "an import as root left files that the server's user cannot read",
     "Owner.RootGivesItsFilesToTheOwnerOfTheDirectory",
     [("io/posix_directory.cc", "    if (!keeps_owner_ || ::geteuid() != 0) return true;",
       "    if (FOUND(files_of_root) || !keeps_owner_ || ::geteuid() != 0) return true;")]),
    ("break_unnamed", "relay B1",
     "damage within the unfinished segment was taken for the end of the WAL by `serve`",
     "ArchiveEndTest.IsInFrontOfABreakThatIsNamed",
     [("relay/archive_end.cc", "    if (counts == Counts::finished || broken) return;",
       "    if (FOUND(break_unnamed) || counts == Counts::finished || broken) return;")]),
    ("damaged_newest_ends_all", "relay B2",
     "one damaged bit in the newest complete segment kept `serve` from starting",
     "ArchiveEndTest.LiesBehindADamagedFinishedSegment",
     [("archive/resume.cc", "        if (error.kind() != ErrorKind::damage) throw;\n        if (!found) found = error;",
       "        if (error.kind() != ErrorKind::damage || FOUND(damaged_newest_ends_all)) throw;\n"
       "        if (!found) found = error;")]),
    ("sound_records_withheld", "relay C2",
     "up to 128 kB of valid WAL before damage were not sent",
     "CheckedWalTest.GivesTheRecordsInFrontOfDamage",
     [("relay/checked_wal.cc", "    if (!proved || checked() <= from_) return {{}, std::move(trouble)};",
       "    if (FOUND(sound_records_withheld) || !proved || checked() <= from_) return {{}, std::move(trouble)};")]),
    ("place_taken_over", "store A3",
     "a prefix without `pgweir.json` was taken over although it has another cluster's WAL",
     "PushTest.RefusesThePlaceThatAnotherProgramFilledWithAnotherClustersWal",
     [("store/send/same_cluster.cc", "  if (listing.segments.empty()) return;",
       "  if (listing.segments.empty() || FOUND(place_taken_over)) return;")]),
    ("wrong_place_is_the_end", "store A1",
     "a wrong prefix in the store was taken for the end of the WAL",
     "*RestoreFromStore.TakesNoPlaceWhereNobodyHasSentAnythingForAnArchive*",
     [("restore/archives.cc", "    if (nothing) throw no_wal_in(",
       "    if (nothing && !FOUND(wrong_place_is_the_end)) throw no_wal_in(")]),
    ("vanished_not_sent_again", "store B3",
     "a single `store push` did not upload again what the store had lost",
     "PushTest.SendsAgainWhatTheStoreHasLost",
     [("store/send/push.cc", "  if (mark.empty()) return;\n",
       "  if (FOUND(vanished_not_sent_again) || mark.empty()) return;\n")]),
    ("delete_is_needed", "store B4",
     "the documented rights were not sufficient: the probe removes its object",
     "ProbeConditions.LeavesOneObjectWhereNothingMayBeRemoved",
     [("store/write_once.cc", "  if (conditions != Conditions::refused && !store.remove(std::array{random_key}).empty())",
       "  if (conditions != Conditions::refused && !store.remove(std::array{random_key}).empty() &&\n"
       "      FOUND(delete_is_needed))\n    throw Error(ErrorKind::refused, \"the probe's object cannot be removed\");\n"
       "  else if (conditions != Conditions::refused && store.head(random_key))")]),
    ("forged_behind_the_key", "store B8",
     "`verify --manifest-public-key` accepted what lies after the last signed line",
     "Manifest.SeesWhatLiesBehindWhatTheKeyProves",
     [("store/ledger/manifest_report.cc", "      else if (question_.keys_given &&",
       "      else if (!FOUND(forged_behind_the_key) && question_.keys_given &&")]),
    ("unproved_restored", "store B8",
     "`restore` had no public key, and handed out forged WAL",
     "*RestoreFromStore.GivesOnlyWhatTheKeyProves*",
     [("store/shelf/near_shelf.cc", "  if (keys_.empty() || !key.starts_with(layout_.wal_prefix())) return;",
       "  if (FOUND(unproved_restored) || keys_.empty() || !key.starts_with(layout_.wal_prefix())) return;")]),
    ("retention_of_others_unnamed", "store B7",
     "after the retention of another program, `verify --store` reported objects as lost without naming the cause",
     "Manifest.SaysThatAnotherProgramsRetentionMayHaveRemovedTheBeginning",
     [("store/ledger/manifest_report.cc", "    if (gone > 0 && gone == gone_in_front)",
       "    if (gone > 0 && gone == gone_in_front && !FOUND(retention_of_others_unnamed))")]),
    ("store_away_hangs_status", "store B1",
     "`status` waited a minute for a store that is away",
     "AnswerWatch.EndsWhatGetsNoGoodAnswer",
     [("store/http/answer_watch.cc", "  if (watch_.over()) throw too_late(watch_);\n  try {",
       "  if (watch_.over() && !FOUND(store_away_hangs_status)) throw too_late(watch_);\n  try {")]),
    ("foreign_backup_stays", "user B9",
     "`prune` said of backups that the archive cannot recover that their WAL stays",
     "Retention.SaysOfEachBackupThatTheArchiveCannotRecoverIt",
     [("prune/retention.cc", "  if (before) return \"it started before the archive's first WAL, and cannot be recovered with it\";",
       "  if (before && !FOUND(foreign_backup_stays))\n"
       "    return \"it started before the archive's first WAL, and cannot be recovered with it\";")]),
    ("last_word_unsaid", "user B14",
     "why a receiver ended was shown in its log only",
     "LastWord.IsReadAsItWasLeftUntilItIsRemoved",
     [("archive/last_word.cc", "void leave_last_word(io::Directory& directory, const LastWord& word) {\n",
       "void leave_last_word(io::Directory& directory, const LastWord& word) {\n"
       "  if (FOUND(last_word_unsaid)) return;\n")]),
    ("passed_moment_promised", "user A4",
     "`drill --to` promised a moment that the backup had passed",
     "PromiseTest.IsNoneForATimeThatTheBackupHadPassed",
     [("recovery/promise.cc", "    require_not_passed(promise, way, backup, target, follower.checkpoint(), stop);",
       "    if (!FOUND(passed_moment_promised))\n"
       "      require_not_passed(promise, way, backup, target, follower.checkpoint(), stop);")]),
    ("lost_objects_are_the_end", "store A2",
     "lost objects were mistaken for the end of the WAL although a manifest lists them",
     "*RestoreFromStore.BelievesTheManifestThatTellsOfWhatIsGone*",
     [("store/shelf/near_shelf.cc", "  for (const auto& entry : read_last_lines(store(), layout_, keys_, patience_)) {",
       "  for (const auto& entry : read_last_lines(store(), layout_, keys_, patience_)) {\n"
       "    if (FOUND(lost_objects_are_the_end)) break;")]),
    ("no_source_is_well", "import B3",
     "`import` ended with status 0 where a source has nothing that can be read",
     "SourcesTest.NeverEndsWellWithoutASource",
     [("import/import.cc", "  tell(no_sources,", "  if (!FOUND(no_source_is_well)) tell(no_sources,")]),
    ("script_misled", "import B4, robust F2",
     "`import` ended with status 0 although what was named did not come in",
     "SourcesTest.SaysWhetherWhatWasAskedForIsDone",
     [("import/import.cc", "  if (listing_.segments.empty() && result_.came.empty() && !sources_.empty() &&",
       "  if (FOUND(script_misled)) {\n    result_.named_in = result_.named;\n    result_.touched.clear();\n"
       "    result_.open.clear();\n  }\n"
       "  if (listing_.segments.empty() && result_.came.empty() && !sources_.empty() &&")]),
    ("gzip_without_ending", "import B5",
     "Barman's gzip files without an ending were said not to begin with WAL",
     "SourcesTest.TakesFilesThatWereNamed",
     [("import/sources.cc", "  if (bytes.starts_with(\"\\x1f\\x8b\")) return {Method::gzip};",
       "  if (bytes.starts_with(\"\\x1f\\x8b\") && !FOUND(gzip_without_ending)) return {Method::gzip};")]),
    ("pruned_while_read", "relay C3",
     "what is pruned while it is read was reported as an error of the file",
     "SharedWalTest.WhatIsPrunedWhileItIsReadHasBeenRemoved",
     [("relay/shared_wal.cc", "  return archive::look_again(archive::kMostLooksAtSegment,",
       "  return archive::look_again(FOUND(pruned_while_read) ? 1 : archive::kMostLooksAtSegment,")]),
    ("settings_untold", "user A3",
     "`drill` did not say what the backup's own recovery settings would do",
     "BroughtBackup.TellsWhatItsOwnSettingsWouldDo",
     [("recovery/backup.cc", "    brought.settings = read_settings_files(backup.path);",
       "    if (!FOUND(settings_untold)) brought.settings = read_settings_files(backup.path);")]),
    ("silent_archive_stops", "user A5",
     "a recovery could not leave out an archive that does not answer",
     "SeveralArchives.LeaveOutWhatDoesNotAnswerIfAsked",
     [("restore/archives.cc", "  if (options_.without_silent &&", "  if (options_.without_silent && !FOUND(silent_archive_stops) &&")]),
    ("damaged_segment_stops", "user B13",
     "no recovery could go up to the record before a damaged one",
     "RestoreFile.HandsOutWhatIsSoundBeforeTheDamageIfAsked",
     [("restore/restore.cc", "  if (!options_.up_to_damage || error.kind() != ErrorKind::damage) return std::nullopt;",
       "  if (FOUND(damaged_segment_stops) || !options_.up_to_damage || error.kind() != ErrorKind::damage)\n"
       "    return std::nullopt;")]),
    ("nothing_known_is_well", "user A1",
     "`doctor --failover` said that all is well when no host answered",
     "ConcludeFailover.NamesWhoLosesNothingOrLeast",
     [("doctor/failover.cc", "if (known.empty()) return {false,",
       "if (known.empty()) return {FOUND(nothing_known_is_well),")]),
    # --- Reading where an archive ends ---
    ("ancestors_wal_unread", "`git log --grep=ancestor`",
     "what `recover`, `drill` and `--find-*` read ended before the switchpoint while a new timeline's first file had not come there",
     "WalReader.ReadsAnAncestorsFileUpToTheSwitchpointAsLongAsTheNewOneHasNotComeThere",
     [("archive/unfinished_files.cc", "  if (history == nullptr || !history->contains(segment.timeline())) return files;",
       "  if (FOUND(ancestors_wal_unread) || history == nullptr ||\n"
       "      !history->contains(segment.timeline()))\n"
       "    return files;")]),
    ("first_unfinished_form", "`git log --grep=ancestor`",
     "of several unfinished forms of a segment the raw one was read, however short",
     "WalReader.ReadsOfSeveralUnfinishedFormsTheOneThatIsSoundTheFarthest",
     [("archive/unfinished_files.cc", "  if (files.size() == 1) return *best;",
       "  if (FOUND(first_unfinished_form) || files.size() == 1) return *best;")]),
    ("raw_form_counts", "`git log --grep=ancestor`",
     "`status` promised less than what was reported if a short raw file exists in addition to a compressed one",
     "Ends.AreThoseOfTheUnfinishedFormThatIsSoundTheFarthest",
     [("status/ends.cc", "  return name.method == codec::Method::none && files_of(name) <= 1",
       "  return name.method == codec::Method::none && (FOUND(raw_form_counts) || files_of(name) <= 1)")]),
    ("record_over_border_left_out", "seed 48979",
     "`status` promised less than what was reported where the unfinished segment has only the end of a record",
     "Ends.AreAtTheEndOfARecordThatBeginsBeforeTheSegment",
     [("status/ends.cc", "  if (!check.inside_record()) return {};",
       "  if (FOUND(record_over_border_left_out) || !check.inside_record()) return {};")]),
    ("end_before_hole", "seed 5419",
     "`status` promised nothing after a recorded hole where a kill had left several unfinished segments before it",
     "Ends.AreBehindAHoleThatIsKnown",
     [("status/ends.cc", "    while (reached > 0 && !is_behind_hole(files[reached - 1])) --reached;",
       "    while (reached > 0 && (FOUND(end_before_hole) || !is_behind_hole(files[reached - 1])))\n"
       "      --reached;")]),
    ("lost_branch_restored", "`git log --grep=switchpoint`",
     "a server was given the WAL of an ancestor after the switchpoint where the new timeline's first segment was not archived yet",
     "RestoreFile.GivesAServerTheAncestorsWalUpToTheSwitchpointWhereTheNewTimelineHasNoFileYet",
     [("restore/restore.cc", "  if (!options_.system_identifier || target_directory_.find(segment.to_string()))",
       "  if (FOUND(lost_branch_restored) || !options_.system_identifier ||\n"
       "      target_directory_.find(segment.to_string()))")]),
    ("lost_branch_completed_meanwhile", "seed 534595",
     "a server was given the WAL of an ancestor after the switchpoint where that segment was completed after the new "
     "timeline's had been requested, or where the new timeline begins at its first byte",
     "RestoreFile.EndsACompleteSegmentWhereTheTimelineThatTheServerFollowsLeftIt",
     [("restore/restore.cc",
       "  if (!options_.system_identifier || target_name_ == segment.to_string()) return std::nullopt;",
       "  if (FOUND(lost_branch_completed_meanwhile) || !options_.system_identifier ||\n"
       "      target_name_ == segment.to_string())\n    return std::nullopt;")]),
    ("cut_at_siblings_switchpoint", "`git log --grep=sibling`",
     "a standby was given no WAL after the switchpoint of a sibling of the timeline that it follows",
     "RestoreFile.EndsNoSegmentWhereASiblingOfTheTimelineThatAStandbyFollowsLeftIt",
     [("restore/left.cc", "      return newer.by > left.by && newer.written <= left.written;",
       "      return !FOUND(cut_at_siblings_switchpoint) && newer.by > left.by && newer.written <= left.written;")]),
    ("longer_own_segment_replaced", "`git log --grep=longer`",
     "`restore --partial` replaced a longer copy of the segment in the server's own pg_wal",
     "RestoreFile.LeavesASegmentToAServerThatHasMoreOfItThanTheUnfinishedFile",
     [("restore/restore.cc", "  if (own.end <= end || (left && left->at < own.end)) return std::nullopt;",
       "  if (FOUND(longer_own_segment_replaced) || own.end <= end || (left && left->at < own.end))\n"
       "    return std::nullopt;")]),
    ("segment_behind_unfinished_blamed", "`git log --grep=blame`",
     "`verify` reported a finished segment as damaged because of a torn unfinished one before it",
     "Verify.BlamesNoSegmentForAnUnfinishedOneBeforeIt",
     [("verify/chunk_check.cc", "      if (!parent.is_finished()) return false;",
       "      if (!FOUND(segment_behind_unfinished_blamed) && !parent.is_finished()) return false;")]),
    ("lost_slot_is_ready", "`git log --grep=slot`",
     "an invalidated slot counted as ready when a status report had given it a position again",
     "SessionState.DoesNotTakeAnInvalidatedSlotForReadyWhereItHasAPositionAgain",
     [("receive/session_state.cc",
       "  if (!slot_ || slot_lost_on_.contains(upstream_->host_index)) return std::nullopt;",
       "  if (!slot_ || (!FOUND(lost_slot_is_ready) && slot_lost_on_.contains(upstream_->host_index)))\n"
       "    return std::nullopt;")]),
    ("not_marked_before_the_first_upload", "`git log --grep='first upload'`",
     "`prune` removed WAL that was to be uploaded while the store had not answered yet",
     "LedgerTest.MarksTheArchiveBeforeTheStoreHasAnything",
     [("store/send/ledger.cc", "  if (start.unmarked) keep_first_mark(",
       "  if (start.unmarked && !FOUND(not_marked_before_the_first_upload)) keep_first_mark(")]),
    ("damaged_mark_is_none", "`git log --grep='first upload'`",
     "`prune` removed WAL that was to be uploaded if the file that lists what was uploaded was damaged",
     "Prune.RemovesNothingIfItIsUnknownWhatIsUploaded",
     [("store/ledger/mark.cc", "  if (there && !mark)\n",
       "  if (there && !mark && !FOUND(damaged_mark_is_none))\n")]),
    ("unproved_prune_is_recorded", "`git log --grep=proves`",
     "`prune` took a prune that no key proves for the record of what another program had removed",
     "RecordPrune.TellsOfWhatAnotherProgramRemovedWhateverSomebodyElseHasRecorded",
     [("store/ledger/manifest_prune.cc", "  const auto pruned = recorded_begins(chains, keys_given);",
       "  const auto pruned = recorded_begins(chains, keys_given && !FOUND(unproved_prune_is_recorded));")]),
    ("hole_filled_by_a_sibling", "`git log --grep=sibling`",
     "`restore` with several archives took a segment of a sibling timeline for one that a recorded hole lacks",
     "SeveralArchives.FillNoHoleOnTheWayToOneTimelineWithASegmentOfAnother",
     [("restore/archives.cc", "    if (hole.timeline != hole.next_timeline) {",
       "    if (!FOUND(hole_filled_by_a_sibling) && hole.timeline != hole.next_timeline) {")]),
    ("sibling_hidden_by_a_hole", "`git log --grep=sibling`",
     "`verify` hid damage in a partial segment of a sibling timeline behind a recorded hole",
     "Verify.HidesNoDamageOfASiblingTimelineBehindARecordedHole",
     [("verify/verdict.cc", "        return !history || !history->contains(loss.timeline) || history->contains(timeline);",
       "        return FOUND(sibling_hidden_by_a_hole) || !history || !history->contains(loss.timeline) ||\n"
       "               history->contains(timeline);")]),
    ("unwritten_partial_is_wal", "`git log --grep='partial segment that was not written'`",
     "`verify` reported the end of the WAL as damage if a power loss had left a next partial segment without any WAL",
     "Verify.TakesAPartialSegmentWithoutWalForNoWal",
     [("verify/chunk_check.cc", "        has_begun(context_.plan.nodes[*next])) {",
       "        (FOUND(unwritten_partial_is_wal) || has_begun(context_.plan.nodes[*next]))) {")]),
    ("skipped_history_first", "`git log --grep='skipped timelines come last'`",
     "`receive` stored the history of a timeline that the server did not follow before that of the server's own",
     "SessionState.StoresTheHistoriesOfTimelinesThatTheServerKnowsAndDidNotFollow",
     [("receive/session_state.cc",
       "  if (!stored && known->second) return step::StoreHistory{timeline, *known->second};",
       "  if (FOUND(skipped_history_first))\n"
       "    if (auto step = skipped_step(timeline)) return step;\n"
       "  if (!stored && known->second) return step::StoreHistory{timeline, *known->second};")]),
    ("lost_before_a_recorded_start", "`git log --grep='recorded start'`",
     "`verify --store` did not miss segments of a timeline that began before the start that a prune had recorded",
     "PrunedManifest.MissesWhatATimelineThatBeganBeforeTheRecordedStartHasLost",
     [("store/ledger/manifest_report.cc", "    return is_pruned(segment, begins_);",
       "    if (FOUND(lost_before_a_recorded_start))\n"
       "      return !begins_.empty() && place_of(segment) < place_of(begins_.back());\n"
       "    return is_pruned(segment, begins_);")]),
    ("old_version_of_a_record", "`git log --grep='newest version'`",
     "of a record of a loss that was replaced in a bucket with versioning, readers of the store used the first version",
     "NearShelfTest.ReadsTheNewestVersionOfARecord",
     [("store/shelf/near_shelf.cc", "  auto bytes = key.starts_with(layout_.records_prefix())",
       "  auto bytes = !FOUND(old_version_of_a_record) && key.starts_with(layout_.records_prefix())")]),
    ("confirmed_unlisted", "`git log --grep='its line is in the store'`",
     "with `--confirm stored` and `--manifest-key`, WAL was confirmed to the server before a signed line listed it",
     "FollowTest.WithAKeyConfirmsNothingBeforeItsLineIsInTheStore",
     [("store/send/follow.cc", "{ return options_.manifest_key ? listed_ : sender_.mark(); }",
       "{\n  return options_.manifest_key && !FOUND(confirmed_unlisted) ? listed_ : sender_.mark();\n}")]),
    ("unread_record_stops_uploads", "`git log --grep='record that cannot be read'`",
     "nothing was uploaded while the disk did not give a record of a loss that the store did not have yet",
     "FollowTest.ARecordThatCannotBeReadAtAllStopsNoUploads",
     [("store/ledger/loss_records.cc", "      const auto found = known.find(name);\n",
       "      const auto found = known.find(name);\n"
       "      if (FOUND(unread_record_stops_uploads) && found == known.end()) throw;\n")]),
    ("skipped_history_uploaded_first", "`git log --grep='after those of the timelines'`",
     "the history of a timeline that the server did not follow was uploaded before that of the server's own",
     "UploadPlan.SendsTheHistoryOfASkippedTimelineAfterThoseThatDidNotFollowIt:"
     "PushTest.SendsTheHistoryOfASkippedTimelineLast",
     [("store/send/upload_plan.cc", "    if (line.stuck || (awaits_history(line) && is_held_back(timeline))) continue;",
       "    if (line.stuck || (!FOUND(skipped_history_uploaded_first) && awaits_history(line) &&\n"
       "                       is_held_back(timeline)))\n"
       "      continue;")]),
    ("start_of_another_version", "`git log --grep='start and the rest'`",
     "`verify --store --deep` read the start of a segment from the newest version of its object, and the rest from the oldest",
     "NearShelfTest.ReadsTheStartOfASegmentFromTheVersionOfTheRest",
     [("store/shelf/near_shelf.cc", "      return !insist(patience_, [&] { return oldest_version(store(), key); }).empty();\n",
       "      return !FOUND(start_of_another_version) &&\n"
       "             !insist(patience_, [&] { return oldest_version(store(), key); }).empty();\n")]),
    ("digest_as_generation", "`git log --grep='no digest'`",
     "on Google Cloud Storage, the manifest was not continued after a restart: its condition was not a generation",
     "Manifest.GoesOnWhereAnETagIsNoDigest",
     [("store/ledger/manifest_writer.cc", "        There{number, head ? head->etag : crypto::digest_of(",
       "        There{number, head && !FOUND(digest_as_generation) ? head->etag : crypto::digest_of(")]),
    ("branch_holds_the_server", "`git log --grep='holds no WAL on the server'`",
     "with `--confirm stored`, a conflict in the store about a timeline that the server did not follow kept all WAL on the server",
     "StoredEndTest.WaitsForNothingOfABranchThatTheServerDidNotFollow:"
     "FollowTest.AConflictOnABranchThatTheServerDidNotFollowHoldsNoWalOnTheServer",
     [("store/send/stored_end.cc", "        (!history || is_read_along(*history, item, mark.segment_size)))",
       "        (FOUND(branch_holds_the_server) || !history ||\n"
       "         is_read_along(*history, item, mark.segment_size)))")]),
]


def plants():
    """(fault, file, text, text with the fault)"""
    return [(fault[0], *plant) for fault in FAULTS for plant in fault[4]]


def planted(file, text):
    """The source with its faults, and what there is to complain of."""
    complaints = []
    for fault, of, original, replacement in plants():
        if of != file:
            continue
        if text.count(original) == 1:
            text = text.replace(original, replacement)
        else:
            complaints.append(f"{fault} cannot be planted into src/{file}: its text is there "
                              f"{text.count(original)} times, not once:\n{original}")
    return SWITCH + text, complaints


def check():
    names = [fault[0] for fault in FAULTS]
    complaints = [f"two faults are called {name}" for name in set(names) if names.count(name) > 1]
    for file in sorted({plant[1] for plant in plants()}):
        complaints += planted(file, (ROOT / "src" / file).read_text())[1]
    sys.exit("\n".join(complaints) or 0)


# Who has a planted header compiled in.
USERS = {"store/insist.h": "tests/unit/store/insist_test.cc"}


def commands(build, target):
    return subprocess.run(["ninja", "-C", build, "-t", "commands", target], capture_output=True, text=True, errors="replace",
                          check=True).stdout.splitlines()


def build(directory):
    """Each planted copy is compiled by itself, and stands in for what the library has of it."""
    top = pathlib.Path(directory).resolve()
    found = top / "found"
    pattern = re.compile(r" -c \S+/src/wal/segment\.cc$")
    compiler = next(line for line in commands(top, "tests/unit_tests")
                    if pattern.search(line) and "LEAST" not in line)
    for unwanted in (r" -Winvalid-pch", r" -Werror", r" -MD -MT \S+ -MF \S+", r" -o \S+", pattern.pattern):
        compiler = re.sub(unwanted, "", compiler)
    linker = commands(top, "tests/unit_tests")[-1]
    jobs = []
    for file in sorted({each[1] for each in plants()}):
        text, complaints = planted(file, (ROOT / "src" / file).read_text())
        if complaints:
            sys.exit("\n".join(complaints))
        copy = found / "src" / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists() or copy.read_text() != text:
            copy.write_text(text)
        if file.endswith(".cc"):
            jobs.append((copy, copy))
        elif file in USERS:
            jobs.append((ROOT / USERS[file], copy))
    objects = [found / (str(source.relative_to(source.anchor)).replace("/", "_") + ".o") for source, _ in jobs]

    def compile_one(job):
        (source, newest), target = job
        if target.exists() and target.stat().st_mtime > newest.stat().st_mtime:
            return 0
        command = compiler.replace(" -I", f" -I{found}/src -I", 1) + f" -w -I{ROOT}/tests -o {target} -c {source}"
        return subprocess.run(command, shell=True, cwd=top, check=False).returncode

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        if any(pool.map(compile_one, zip(jobs, objects))):
            sys.exit("not built")
    link = re.sub(r" -o \S+", f" -Wl,-z,muldefs -o {found}/unit_tests", linker, count=1)
    first = re.search(r" (?=tests/CMakeFiles/unit_tests\.dir)", link).start()
    link = link[:first] + " " + " ".join(map(str, objects)) + link[first:]
    sys.exit(subprocess.run(link.split(" && cd ")[0], shell=True, cwd=top, check=False).returncode)


def run(directory, wanted):
    """Each test has to pass with no fault in force, and to fail with its own."""
    program = str(pathlib.Path(directory).resolve() / "found/unit_tests")
    missed = []
    for fault, _, what, tests, _ in FAULTS:
        if wanted and fault not in wanted:
            continue
        command = [program, f"--gtest_filter={tests}", "--gtest_brief=1"]
        whole = {**os.environ, "PGWEIR_FOUND": ""}
        sound = subprocess.run(command, env=whole, capture_output=True, text=True, errors="replace", check=False)
        if sound.returncode or "0 tests" in sound.stdout:
            missed.append(fault)
            print(f"{fault}: {tests} fails without it, or is no test")
            continue
        try:
            broken = subprocess.run(command, env={**whole, "PGWEIR_FOUND": fault}, capture_output=True, text=True, errors="replace",
                                    check=False, timeout=120)
            failed = re.findall(r"\[  FAILED  \] ([^,\s]+)", broken.stdout)
            caught = broken.returncode != 0
        except subprocess.TimeoutExpired:
            caught, failed = True, ["(does not end)"]
        print(f"{fault}: {', '.join(dict.fromkeys(failed)) or 'ends the process' if caught else 'NOT CAUGHT by ' + tests}", flush=True)
        if not caught:
            missed.append(fault)
    sys.exit(f"not caught: {' '.join(missed)}" if missed else 0)


def table():
    for fault, mended, what, tests, _ in FAULTS:
        print(f"| {what} | {mended} | `{tests}` |")


def main():
    match sys.argv[1:]:
        case ["--check"]:
            check()
        case ["--build", directory]:
            build(directory)
        case ["--run", directory, *wanted]:
            run(directory, wanted)
        case ["--table"]:
            table()
        case _:
            sys.exit(__doc__)


main()
