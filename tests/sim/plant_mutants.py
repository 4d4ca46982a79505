#!/usr/bin/env python3
"""Copies sources of src/ with faults planted into them, for tests/sim.

    plant_mutants.py --files            the sources that have any
    plant_mutants.py --check            which of them do not apply any more, and what they are to break
    plant_mutants.py SOURCE COPY        makes the copy of one

A fault is in force while `weir::sim::planted` names it (planted.h). What ships knows nothing of it:
each stands here as the text of the source that it replaces, which has to be found there exactly once.
Where that text has changed, change it here, too, and see that the fault is still caught."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# (mutant, file, text, text with the fault)
PLANTS = [
    # --- P1 ---
    ("data_sync_left_out", "archive/segment_job.cc",
     """          file->sync();
          require_its_name(""",
     """          if (!PLANTED(data_sync_left_out)) file->sync();
          require_its_name("""),
    ("directory_sync_left_out", "archive/segment_job.cc",
     """  void sync_names() {
    directory_.sync();""",
     """  void sync_names() {
    if (!PLANTED(directory_sync_left_out)) directory_.sync();"""),
    ("report_before_sync", "receive/stream_state.cc",
     """  const auto flush = report_flush ? acknowledged() : wal::Lsn();""",
     """  const auto flush = PLANTED(report_before_sync)        ? sync_begun_
                     : PLANTED(write_reported_as_flush) ? write_
                     : PLANTED(dropped_acknowledged) && discarding_
                         ? taken_end_
                         : report_flush ? acknowledged() : wal::Lsn();"""),
    # 8d119d26: a stream begins again at its segment's first byte.
    ("again_is_not_durable", "receive/stream_state.cc",
     """          .flush = durable(),""",
     """          .flush = PLANTED(again_is_not_durable) ? flush_ : durable(),"""),
    ("again_is_not_durable", "restore/partial.cc",
     """    if (!found.being_written) return found;""",
     """    if (const auto cut = ask(); PLANTED(again_is_not_durable) && cut && cut->flush < found.cut) {
      found.cut = cut->flush;
      return found;
    }
    if (!found.being_written) return found;"""),
    ("not_looked_for_again", "verify/forms_check.cc",
     """      if (archive::is_gone(error)) {
        // Compressed or pruned""",
     """      if (archive::is_gone(error) && !PLANTED(not_looked_for_again)) {
        // Compressed or pruned"""),
    ("dropped_acknowledged", "receive/stream_state.cc",
     """  return {.write = write, .flush = flush, .apply = apply, .reply_requested = false};""",
     """  return {.write = std::max(write, flush), .flush = flush, .apply = apply, .reply_requested = false};"""),
    ("report_past_undecided", "receive/stream_state.cc",
     """  PGWEIR_CHECK(sync != syncs_.end() && !sync->done);
  sync->done = true;""",
     """  if (PLANTED(report_past_undecided) && sync == syncs_.end()) return;
  PGWEIR_CHECK(sync != syncs_.end() && (!sync->done || PLANTED(report_past_undecided)));
  sync->done = true;
  if (PLANTED(report_past_undecided))
    for (auto& each : syncs_) each.done = each.done || each.ticket < ticket;"""),
    ("end_not_made_durable", "receive/inspection.cc",
     """  if (facts.resume)
    archive::make_end_durable(""",
     """  if (PLANTED(end_not_made_durable)) return facts;
  if (facts.resume)
    archive::make_end_durable("""),
    ("raw_removed_first", "archive/compress.cc",
     """    file->close();
    directory_.sync();
    remove_raw();""",
     """    file->close();
    if (!PLANTED(raw_removed_first)) directory_.sync();
    remove_raw();"""),
    # One place publishes all kinds of files: each fault is of one kind.
    ("raw_removed_first", "archive/home.cc",
     """  directory_.sync();
  return true;""",
     """  const bool a_segment = wal::SegmentName::parse(std::string_view(what.name).substr(0, 24)).has_value();
  if (!(PLANTED(raw_removed_first) && a_segment) &&
      !(PLANTED(loss_not_synced) && parse_loss_record(what.name)))
    directory_.sync();
  return true;"""),
    ("compressed_not_synced", "archive/home.cc",
     """    file.sync();   // the bytes, before they get the name""",
     """    const bool is_segment = wal::SegmentName::parse(std::string_view(what.name).substr(0, 24)).has_value();
    if (!(PLANTED(compressed_not_synced) && is_segment) &&
        !(PLANTED(import_not_synced) && is_segment && what.writers == Writers::many) &&
        !(PLANTED(history_not_synced) && wal::parse_history_name(what.name)))
      file.sync();"""),
    # --- P2 ---
    ("rename_before_sync", "receive/stream_loop.cc",
     """    decision = with_patience(sync, *job, error, [&] { job->sync_data(); });""",
     """    if (PLANTED(rename_before_sync)) {
      try {
        finished = job->publish();
      } catch (const Error&) {  // what is compressed straight from memory has nothing to be renamed
      }
    }
    decision = with_patience(sync, *job, error, [&] { job->sync_data(); });"""),
    ("history_too_late", "receive/session.cc",
     """  if (archive::store_history(directory_, step.timeline, step.content))
""",
     """  if (PLANTED(history_too_late))
    ::weir::sim::planted_later = [this, step] {
      static_cast<void>(archive::store_history(directory_, step.timeline, step.content));
    };
  else if (archive::store_history(directory_, step.timeline, step.content))
"""),
    ("history_too_late", "receive/session.cc",
     """  auto outcome = stream(step);
""",
     """  if (PLANTED(old_timeline_skipped))
    if (server_->identify_system().timeline > step.timeline) {
      const auto history = wal::TimelineHistory::parse(
          step.timeline + 1, server_->timeline_history(step.timeline + 1));
      StreamOutcome skipped;
      skipped.how = StreamOutcome::How::timeline_ended;
      skipped.next = pq::EndOfStream::Next{step.timeline + 1, *history->end_of(step.timeline)};
      skipped.reached = std::max(step.start, skipped.next->switchpoint);
      state_.on_stream_ended(skipped, now());
      return;
    }
  auto from = step;
  if (const auto start = std::exchange(::weir::sim::planted_start, std::nullopt))
    from.start = std::max(from.start, step.segment_size.start_of(*start));
  auto outcome = stream(from);
  if (const auto later = std::exchange(::weir::sim::planted_later, {})) later();
"""),
    ("import_not_judged", "import/judge.cc",
     """        slot.digest.add(wal);
        return !damage;""",
     """        slot.digest.add(wal);
        return !damage || PLANTED(import_not_judged);"""),
    ("import_not_judged", "import/judge.cc",
     """    if (damage) {
      if (!was_written_whole(""",
     """    if (damage && !PLANTED(import_not_judged)) {
      if (!was_written_whole("""),
    ("import_not_judged", "import/judge.cc",
     """      if (const auto damage = verifier_.feed(wal)) {""",
     """      if (const auto damage = verifier_.feed(wal); damage && !PLANTED(import_not_judged)) {"""),
    # --- P3 ---
    ("resume_at_newest_partial", "receive/inspection.cc",
     """  facts.resume = archive::find_resume_point(directory_, listing, segment_size);
""",
     """  facts.resume = archive::find_resume_point(directory_, listing, segment_size);
  if (PLANTED(resume_at_newest_partial) && facts.resume && facts.resume->open.size() > 1) {
    facts.resume->open = {facts.resume->open.back()};
    facts.resume->start = facts.resume->open.front().start;
  }
"""),
    ("gap_skipped", "receive/session_state.cc",
     """  const auto last = name_of(found.last_lost);
  if (options_.on_gap == OnGap::stop) {""",
     """  const auto last = name_of(found.last_lost);
  if (options_.on_gap == OnGap::stop && !PLANTED(gap_skipped)) {"""),
    ("gap_skipped", "receive/session_state.cc",
     """  if (!archive_->resume) return;
  auto accepted = hole(""",
     """  if (!archive_->resume || PLANTED(gap_skipped)) return;
  auto accepted = hole("""),
    ("pruned_names_not_synced", "prune/prune.cc",
     """    // Names removed in one go may come back or stay away each on its own.
    directory.sync();""",
     """    if (!PLANTED(pruned_names_not_synced)) directory.sync();"""),
    ("pruned_from_the_newest", "prune/prune.cc",
     """{ return Planner(homes, options).run(); }""",
     """{
  auto plan = Planner(homes, options).run();
  if (PLANTED(pruned_from_the_newest)) std::reverse(plan.numbers.begin(), plan.numbers.end());
  return plan;
}"""),
    ("link_not_carried", "receive/streaming.cc",
     """  const auto known = std::exchange(border_, std::nullopt);
""",
     """  const auto known = std::exchange(border_, std::nullopt);
  if (PLANTED(link_not_carried) || PLANTED(border_not_checked)) {
    const auto options = verifier_options(step, server);
    const wal::RecordVerifier fresh(options, step.start);
    if (PLANTED(border_not_checked)) return fresh;
    auto verifier = archive::verifier_at(directory_, options, step.start);
    // It ends with the empty rest behind an xlog switch.
    return !verifier.inside_record() && verifier.records_end() < step.start ? fresh : verifier;
  }
"""),
    ("tail_not_compared", "receive/session.cc",
     """void Session::perform(const step::CompareTail& step) {
""",
     """void Session::perform(const step::CompareTail& step) {
  // (Decision a record over the border had damaged in front differs from the server's, too.)
  if (PLANTED(tail_not_compared) || PLANTED(border_not_checked)) {
    streaming_.set_border(std::nullopt);
    state_.on_tail_compared({});
    return;
  }
"""),
    ("stream_over_dropped", "receive/stream_policy.cc",
     """  outcome.reached = state_.write();
""",
     """  outcome.reached = state_.write();
  if (PLANTED(stream_over_dropped) && outcome.how == StreamOutcome::How::dropped)
    ::weir::sim::planted_start = state_.server_end();
"""),
    # --- P15, P17 ---
    ("lost_answer_is_success", "store/send/sender.cc",
     """  } catch (const StoreError& error) {
    return again(""",
     """  } catch (const StoreError& error) {
    if (PLANTED(lost_answer_is_success) && error.trouble() == Trouble::unreachable) {
      settle(item, {Uploader::Result::What::stored}, retry);
      return {};
    }
    return again("""),
    # (Assertions would find these three at once: the simulation has to do so without them.)
    ("lost_answer_is_success", "store/send/sender.cc",
     """  PGWEIR_CHECK(result.entry.has_value() == """,
     """  PGWEIR_CHECK(PLANTED(lost_answer_is_success) || result.entry.has_value() == """),
    ("marked_untold", "store/send/ledger.cc",
     """  PGWEIR_CHECK(!manifest_->due());
""",
     """  PGWEIR_CHECK(PLANTED(marked_untold) || !manifest_->due());
"""),
    ("slot_ignored_by_prune", "prune/prune.cc",
     """      PGWEIR_CHECK(numbers.empty() || slot.lost ||""",
     """      PGWEIR_CHECK(PLANTED(slot_ignored_by_prune) || numbers.empty() || slot.lost ||"""),
    ("mark_over_what_failed", "store/send/upload_plan.cc",
     """void UploadPlan::again(const UploadItem& item) { find(item).state = State::waiting; }
""",
     """void UploadPlan::again(const UploadItem& item) {
  if (PLANTED(mark_over_what_failed)) {
    static_cast<void>(stored(item));
    return;
  }
  find(item).state = State::waiting;
}
"""),
    ("object_overwritten", "store/write_once.cc",
     """  if (conditions == Conditions::heeded) return store.put_if_absent(key, content);
""",
     """  if (PLANTED(object_overwritten)) {
    store.put(key, content);
    return ObjectStore::Put::stored;
  }
  if (conditions == Conditions::heeded) return store.put_if_absent(key, content);
"""),
    # --- P18 ---
    ("confirmed_unsent", "receive/stream_state.cc",
     """  return options_.confirm_stored ? std::min(flush_, stored_) : flush_;""",
     """  return options_.confirm_stored && !PLANTED(confirmed_unsent) ? std::min(flush_, stored_)
                                                               : flush_;"""),
    ("confirmed_behind_unsent", "store/send/stored_end.cc",
     """  before_.clear();
  gone_.clear();
""",
     """  if (PLANTED(confirmed_behind_unsent)) {
    before_.clear();
    gone_.clear();
    next_ = mark.segment_size.segno(stream.start);
    last_ = {};
    return;
  }
  before_.clear();
  gone_.clear();
"""),
    ("partial_object_removed", "store/send/open_segment.cc",
     """      if (mark.has(object->segment))
        outdated_""",
     """      if (mark.has(object->segment) || PLANTED(partial_object_removed))
        outdated_"""),
    # --- P19 ---
    ("manifest_put_blindly", "store/ledger/manifest_writer.cc",
     """  if (compares_) {
    if (is_known)""",
     """  if (compares_ && !PLANTED(manifest_put_blindly)) {
    if (is_known)"""),
    ("marked_untold", "store/send/follow.cc",
     """  if (!put_lines()) return""",
     """  if (!put_lines() && !PLANTED(marked_untold)) return"""),
    ("store_not_asked_again", "store/send/keep_local.cc",
     """  const UploadItem item{segment.timeline(), segment};
  using What""",
     """  if (PLANTED(store_not_asked_again)) return true;
  const UploadItem item{segment.timeline(), segment};
  using What"""),
    ("unreachable_is_absent", "store/shelf/near_shelf.cc",
     """  const auto page = insist(patience_, [&] { return store().list(prefix, after, most); });
""",
     """  const auto page = insist(patience_, [&] {
    try {
      return store().list(prefix, after, most);
    } catch (const StoreError&) {
      if (!PLANTED(unreachable_is_absent)) throw;
      return ObjectPage();
    }
  });
"""),
    # --- P4, P5, P6 ---
    ("cluster_not_checked", "receive/inspection.cc",
     """  if (const auto identity = archive::read_identity(directory_, listing))
""",
     """  if (const auto identity = PLANTED(cluster_not_checked)
                                ? std::nullopt
                                : archive::read_identity(directory_, listing))
"""),
    ("archive_not_locked", "receive/session.cc",
     """  if (!directory_.try_lock())
""",
     """  if (!PLANTED(archive_not_locked) && !directory_.try_lock())
"""),
    ("sync_tried_again", "archive/segment_job.cc",
     """        auto file = work.segment->take_file(directory_);
        try {
""",
     """        auto file = work.segment->take_file(directory_);
        if (PLANTED(sync_tried_again) && !work.memory) {
          // The second result is believed, and on Linux it is a good one.
          try {
            file->sync();
          } catch (const Error&) {
          }
        }
        try {
"""),
    ("close_error_ignored", "archive/written_segment.cc",
     """  for (const auto& file : files) file->close();
  if (const auto file = std::exchange(writing, nullptr)) file->close();
""",
     """  const auto shut = [](io::File& file) {
    try {
      file.close();
    } catch (const Error&) {
      if (!PLANTED(close_error_ignored)) throw;
    }
  };
  for (const auto& file : files) shut(*file);
  if (const auto file = std::exchange(writing, nullptr)) shut(*file);
"""),
    # --- P7 ---
    ("wal_not_checked", "receive/intake.cc",
     """  if (const auto damage = verifier_.feed(wal)) {
""",
     """  if (PLANTED(wal_not_checked)) {
    held_ = wal;
    return;
  }
  if (const auto damage = verifier_.feed(wal)) {
    if (PLANTED(damage_tolerated)) {
      held_ = wal;
      return;
    }
"""),
    # --- P8, P13 ---
    ("status_waits_for_disk", "receive/stream_loop.cc",
     """  if (statuses_.send_due()) wake_leader();
""",
     """  if (PLANTED(status_waits_for_disk) && policy_.waits_for_disk()) return;
  if (statuses_.send_due()) wake_leader();
"""),
    ("reads_without_bound", "receive/stream_state.cc",
     """  return !stopping_ && !discarding_ && received_ - flush_ < limit;""",
     """  return !stopping_ && !discarding_ &&
         (PLANTED(reads_without_bound) || received_ - flush_ < limit);"""),
    ("discarding_left_out", "receive/stream_loop.cc",
     """void StreamLoop::discard_what_comes() {
""",
     """void StreamLoop::discard_what_comes() {
  if (PLANTED(discarding_left_out)) return;
"""),
    ("discarding_left_out", "receive/stream_loop.cc",
     """    const bool discards = state_.discarding() && !state_.ended();
""",
     """    const bool discards =
        !PLANTED(discarding_left_out) && state_.discarding() && !state_.ended();
"""),
    ("leaving_server_held", "receive/stream_policy.cc",
     """  if (state_.server_leaves(now)) return ServerCare::let_go;
""",
     """  if (state_.server_leaves(now) && !PLANTED(leaving_server_held)) return ServerCare::let_go;
"""),
    ("leaving_server_held", "receive/stream_policy.cc",
     """  asks_ = !let_go_ && disk_stuck""",
     """  asks_ = !PLANTED(leaving_server_held) && !let_go_ && disk_stuck"""),
    ("wrong_size_not_recorded", "receive/size_search.cc",
     """    if (!record(loss)) unrecorded_""",
     """    if (PLANTED(wrong_size_not_recorded) || !record(loss)) unrecorded_"""),
    ("guardian_leaves_alone", "receive/stream_loop.cc",
     """      workers_.end();
      wake_leader();
      stream_.let_go();""",
     """      if (!PLANTED(guardian_leaves_alone)) workers_.end();
      wake_leader();
      stream_.let_go();"""),
    ("failed_stream_kept", "receive/stream_loop.cc",
     """  if (policy_.parting() == StreamPolicy::Parting::let_go) stream_.let_go();""",
     """  if (policy_.parting() == StreamPolicy::Parting::let_go && !PLANTED(failed_stream_kept))
    stream_.let_go();"""),
    ("order_before_ancestry", "receive/choose_host.cc",
     """  return *std::max_element(able.begin()""",
     """  if (PLANTED(order_before_ancestry)) return able.front();
  return *std::max_element(able.begin()"""),
    ("siblings_not_seen", "receive/choose_host.cc",
     """      if (!one_line(*able[i]->host, *able[j]->host)) return""",
     """      if (!PLANTED(siblings_not_seen) && !one_line(*able[i]->host, *able[j]->host)) return"""),
    ("does_not_stay", "receive/choose_host.cc",
     """      return each->host->index == facts.streamed;
""",
     """      return !PLANTED(does_not_stay) && each->host->index == facts.streamed;
"""),
    # --- P16 ---
    ("slot_moved_back", "receive/slot_keeper_state.cc",
     """  if (can_be_asked()) return *end > *slot_->restart_lsn ? end : std::nullopt;
""",
     """  if (PLANTED(slot_moved_back)) return end;
  if (can_be_asked()) return *end > *slot_->restart_lsn ? end : std::nullopt;
"""),
    ("slot_moved_too_far", "receive/slot_keeper_state.cc",
     """  const auto most =
      std::min({ours_.durable, ours_.confirmed.value_or(ours_.durable), identity_->flush_position});
  const auto end = ours_.record_ends.last_up_to(most);
""",
     """  const auto most =
      PLANTED(slot_moved_too_far)
          ? identity_->flush_position
          : std::min({ours_.durable, ours_.confirmed.value_or(ours_.durable), identity_->flush_position});
  const auto end = PLANTED(slot_inside_a_record) ? std::optional(most)
                                                 : ours_.record_ends.last_up_to(most);
"""),
    ("slot_ancestry_not_asked", "receive/slot_keeper_state.cc",
     """  if (identity.system_identifier != ours_.system_identifier) {
""",
     """  if (PLANTED(slot_ancestry_not_asked)) {
    history_ = wal::TimelineHistory(1);
    ours_is_theirs_ = true;
    return;
  }
  if (identity.system_identifier != ours_.system_identifier) {
"""),
    # --- P10, P11, P12 ---
    ("served_as_written", "receive/stream_loop.cc",
     """  if (state_.flush() > durable) feed_.publish(event::DurableEnd{state_.timeline(), state_.flush()});
""",
     """  if (state_.flush() > durable)
    feed_.publish(event::DurableEnd{state_.timeline(),
                                    PLANTED(served_as_written) ? state_.write() : state_.flush()});
"""),
    ("served_without_sync", "relay/archive_end.cc",
     """  for (const auto& each : looked) make_durable(archive, listing, each, served.end, size, counts);
  archive::make_end_durable(archive, listing);  // and the names
""",
     """  if (PLANTED(served_without_sync))
    return FoundEnd{std::move(served), std::move(broken), begin->damage};
  for (const auto& each : looked) make_durable(archive, listing, each, served.end, size, counts);
  archive::make_end_durable(archive, listing);
"""),
    ("timeline_served_early", "relay/served.cc",
     """  if (end <= *begin) return Told::nothing;""",
     """  if (end <= *begin && !PLANTED(timeline_served_early)) return Told::nothing;"""),
    ("served_unchecked", "relay/checked_wal.cc",
     """  if (damage) {
    if (take_other_form""",
     """  if (damage && !PLANTED(served_unchecked)) {
    if (take_other_form"""),
    ("served_unchecked", "relay/checked_wal.cc",
     """wal::Lsn CheckedWal::checked() const { return verifier_.last_record_end(); }""",
     """wal::Lsn CheckedWal::checked() const {
  return PLANTED(served_unchecked) ? buffer_begin_ + buffer_.size() : verifier_.last_record_end();
}"""),
    ("served_border_unchecked", "relay/checked_wal.cc",
     """      verifier_(archive::verifier_at(archive, options_of(cluster_, *history_),
                                     cluster_.segment_size.start_of(start))),""",
     """      verifier_(PLANTED(served_border_unchecked)
                    ? wal::RecordVerifier(options_of(cluster_, *history_),
                                          cluster_.segment_size.start_of(start))
                    : archive::verifier_at(archive, options_of(cluster_, *history_),
                                           cluster_.segment_size.start_of(start))),"""),
    ("slot_xmin_forgotten", "relay/slots_state.cc",
     """    slots_[name] = Slot{.kept = std::move(each)};
""",
     """    if (PLANTED(slot_xmin_forgotten)) each.xmin = 0;
    slots_[name] = Slot{.kept = std::move(each)};
"""),
    ("slot_ignored_by_prune", "prune/prune.cc",
     """    for (const auto& slot : slots_.slots)
      if (!slot.lost && slot.restart_lsn != wal::Lsn())""",
     """    for (const auto& slot : slots_.slots)
      if (!PLANTED(slot_ignored_by_prune) && !slot.lost && slot.restart_lsn != wal::Lsn())"""),
    ("unsent_ignored_by_prune", "prune/prune.cc",
     """    not_uploaded_ = store::first_not_sent(mark_, *identity, listing_);""",
     """    if (!PLANTED(unsent_ignored_by_prune))
      not_uploaded_ = store::first_not_sent(mark_, *identity, listing_);"""),
    ("difference_passed_over", "receive/feed_comparer.cc",
     """  if (!differs) return false;""",
     """  if (!differs || PLANTED(difference_passed_over)) return false;"""),
    # --- P14 ---
    ("loss_recorded_too_late", "receive/session.cc",
     """  archive::record_loss(directory_, loss);
""",
     """  if (PLANTED(loss_recorded_too_late))
    ::weir::sim::planted_later = [this, loss] { archive::record_loss(directory_, loss); };
  else if (!PLANTED(lost_branch_not_told) || loss.kind != archive::Loss::Kind::lost_branch)
    archive::record_loss(directory_, loss);
"""),
]


def words_of(mutant):
    """What the mutant breaks, as mutant.cc tells it."""
    told = re.search(r'\{Mutant::' + mutant + r',\s*"([^"]+)",\s*"((?:[^"\\]|\\.)*)"',
                     (ROOT / "tests/sim/mutant.cc").read_text())
    return f"{told[1]}: {told[2]}" if told else "(nothing in tests/sim/mutant.cc tells of it)"


def complaint(mutant, source, count, original):
    return (f"plant_mutants.py: {mutant} cannot be planted into src/{source}: its text is there {count} times, not once.\n"
            f"  It is to break {words_of(mutant)}\n"
            f"  Plant the same fault into what stands there now (PLANTS in tests/sim/plant_mutants.py). The text was:\n{original}")


def planted(source):
    """The source with its faults, and what there is to complain of."""
    text = (ROOT / "src" / source).read_text()
    complaints = []
    for mutant, file, original, fault in PLANTS:
        if file != source:
            continue
        if text.count(original) == 1:
            text = text.replace(original, fault)
        else:
            complaints.append(complaint(mutant, source, text.count(original), original))
    return text, complaints


def main():
    files = sorted({file for _, file, _, _ in PLANTS})
    if sys.argv[1:] == ["--files"]:
        print(";".join(files))
        return
    if sys.argv[1:] == ["--check"]:
        complaints = [each for file in files for each in planted(file)[1]]
        sys.exit("\n".join(complaints) or 0)
    source, copy = sys.argv[1:]
    text, complaints = planted(source)
    if complaints:
        sys.exit("\n".join(complaints))
    pathlib.Path(copy).write_text('#include "sim/planted.h"\n' + text)


main()
