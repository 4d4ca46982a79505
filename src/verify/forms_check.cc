#include "verify/forms_check.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "archive/compare.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "verify/findings.h"
#include "wal/records.h"

namespace weir::verify {

using wal::Lsn;
using State = Outcome::State;

bool FormsCheck::check(std::size_t index, std::optional<wal::RecordVerifier>& verifier) {
  const auto& node = context_.plan.nodes[index];
  const auto before = *verifier;
  auto forms = node.finished;
  Outcome worst{State::damaged, {}, {}};
  bool vanished = false;
  std::optional<std::pair<Outcome, Finding>> padded;
  std::vector<Finding> broken;  // reported once it is known whether another file is valid
  std::set<std::string> tried;
  bool waited = false;
  for (std::size_t i = 0; i < forms.size(); ++i) {
    const auto name = forms[i].to_string();
    auto attempt = before;
    tried.insert(name);
    try {
      const auto reading = context_.read(forms[i], attempt, i == 0);
      if (context_.results.stopped()) return false;
      context_.results.count_file();
      if (!reading.damage) {
        verifier = std::move(attempt);
        // The part of a record that continues after the boundary belongs to the boundary's check.
        context_.results.settle(
            index, {State::sound, context_.cluster.segment_size.start(node.segno + 1), name});
        for (auto& finding : broken) {
          finding.loss = std::nullopt;
          finding.hint = fmt::format("{} is sound. Move {} away.", name, finding.file);
          context_.results.add(std::move(finding));
        }
        check_other_forms(node, forms[i], tried);
        check_partial_beside(node, forms[i]);
        return true;
      }
      if (ends_at_switchpoint(node, *reading.damage)) {
        context_.results.note(
            fmt::format("{} contains WAL only up to the end of its timeline, {}; no more is needed",
                        name, attempt.last_record_end()));
        context_.results.settle(index, {State::partial, attempt.last_record_end(), name});
        return false;
      }
      if (const auto end = context_.padded_behind(node, forms[i], *reading.damage)) {
        // Another form may be the complete segment: of the directory, with the store's.
        padded = {{State::partial, *end, name},
                  damage_finding(context_, node, name, *reading.damage, reading.first_page)};
        continue;
      }
      broken.push_back(damage_finding(context_, node, name, *reading.damage, reading.first_page));
      worst = {State::damaged, attempt.last_record_end(), name};
    } catch (const Error& error) {
      if (archive::is_gone(error)) {
        // Compressed or pruned meanwhile. A file may also return after it was moved away.
        if (const auto other = archive::find_finished(context_.shelf, node.name)) {
          if (std::find(forms.begin() + static_cast<std::ptrdiff_t>(i) + 1, forms.end(), *other) ==
                  forms.end() &&
              forms.size() < kMostAttempts)
            forms.push_back(*other);
        } else {
          vanished = true;
        }
        continue;
      }
      if (still_being_written(forms[i], node) && forms.size() < kMostAttempts) {
        forms.push_back(forms[i]);
        continue;
      }
      if (!waited && context_.wait_for_writer(node, error)) {
        waited = true;
        forms.push_back(forms[i]);
        continue;
      }
      broken.push_back(
          error_finding(context_, node, name, error, attempt.position() - before.position()));
      worst = {State::damaged, attempt.last_record_end(), name};
    }
  }
  if (padded && !context_.is_last(node)) {
    const auto& [outcome, finding] = *padded;
    broken.push_back(finding);
    worst = {State::damaged, outcome.end, outcome.file};
    padded.reset();
  }
  for (auto& finding : broken) context_.results.add(std::move(finding));
  if (padded) {
    const auto& outcome = padded->first;
    context_.results.note(
        fmt::format("{}: padded after {}: it was published unfinished (\"pgweir store "
                    "publish-partial\"), and a recovery ends there",
                    outcome.file, outcome.end));
    context_.results.settle(index, outcome);
    return false;
  }
  context_.results.settle(index,
                          vanished && broken.empty() ? Outcome{State::vanished, {}, {}} : worst);
  return false;
}

/// The last segment of a timeline that ends within it: copied from a pg_wal, it has its full name
/// although it was never completed. No history in the archive continues after the switchpoint.
bool FormsCheck::ends_at_switchpoint(const Node& node, const wal::Damage& damage) const {
  for (const auto child : node.children)
    if (context_.plan.nodes[child].timeline == node.timeline) return false;
  return context_.leaves_within(node, damage.at);
}

/// A program such as gzip creates its file under the final name and then writes it, while the other
/// file still exists: such a file is not damaged, but incomplete. Returns true if it changes within
/// a short wait, or is gone.
bool FormsCheck::still_being_written(const archive::SegmentFileName& file, const Node& node) {
  using namespace std::chrono_literals;
  if (file.method == codec::Method::none) return false;
  const archive::SegmentFileName raw{node.name, codec::Method::none, false};
  if (!context_.shelf.find(raw.to_string())) return false;
  const auto name = file.to_string();
  const auto before = io::identity_of(context_.shelf, name);
  if (!before) return !context_.shelf.find(name);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  if (now - std::chrono::nanoseconds(before->modified_ns) < 5s) std::this_thread::sleep_for(50ms);
  return io::identity_of(context_.shelf, name) != before;
}

void FormsCheck::check_other_forms(const Node& node, const archive::SegmentFileName& sound,
                                   const std::set<std::string>& tried) {
  for (const auto& file : node.finished) {
    const auto name = file.to_string();
    if (tried.contains(name)) continue;
    try {
      const auto offset =
          archive::first_difference(context_.shelf, sound, file, context_.cluster.segment_size,
                                    context_.cluster.segment_size.bytes());
      if (!offset) continue;
      // Bytes after an xlog-switch record are never read: copies from a primary and a standby may
      // differ.
      if (replay_filler(node, sound, *offset)) {
        context_.results.note(
            fmt::format("{} and {} differ only after their last record, which is harmless",
                        sound.to_string(), name));
        continue;
      }
      const auto found_at = context_.cluster.segment_size.start(node.segno) + *offset;
      auto verifier = context_.new_verifier(node, nullptr);
      const auto reading = context_.read(file, verifier, false);
      const auto padded =
          reading.damage ? context_.padded_behind(node, file, *reading.damage) : std::nullopt;
      if (padded && found_at >= *padded) {
        context_.results.note(
            fmt::format("{}: padded after {}: it was published unfinished (\"pgweir store "
                        "publish-partial\"); {} is complete",
                        name, *padded, sound.to_string()));
        continue;
      }
      Finding finding;
      finding.kind = FindingKind::forms_differ;
      finding.file = name;
      finding.timeline = node.timeline;
      finding.offset = *offset;
      finding.found_at = found_at;
      finding.what =
          fmt::format("the file's WAL differs from that of {}, which is valid", sound.to_string());
      finding.hint = fmt::format("Move {} away: a recovery could use either of them.", name);
      // Each of the two is valid by itself, if they differ in a record over a boundary.
      if (!reading.damage &&
          (found_at < verifier.first_record_start() || found_at >= verifier.last_record_end())) {
        finding.what = fmt::format(
            "the file's WAL differs from that of {}, in a record that another segment has a part "
            "of: one of the two is damaged",
            sound.to_string());
        finding.hint =
            "To find out which one, move one of them to another directory, and run verify again.";
      }
      context_.results.add(std::move(finding));
    } catch (const Error& error) {
      // One of them is gone: compression removes one of the two.
      if (archive::is_gone(error)) continue;
      if (still_being_written(file, node)) continue;
      auto finding = error_finding(context_, node, name, error, 0);
      finding.loss = std::nullopt;  // the other file is valid
      finding.hint = fmt::format("{} is sound. Move {} away.", sound.to_string(), name);
      context_.results.add(std::move(finding));
    }
  }
}

/// True if the byte at `offset` is after an xlog-switch record.
bool FormsCheck::replay_filler(const Node& node, const archive::SegmentFileName& file,
                               std::uint64_t offset) {
  struct SwitchFinder final : wal::RecordObserver {
    bool wants(const wal::RecordHeader&) override { return false; }
    [[nodiscard]] bool needs_xlog_only() const override { return true; }
    void on_record(Lsn, Lsn end, const wal::RecordHeader& header,
                   std::span<const std::byte>) override {
      if (wal::is_xlog(header, wal::XlogRecord::segment_switch)) switch_end = end;
    }
    std::optional<Lsn> switch_end;
  } finder;
  auto verifier = context_.new_verifier(node, &finder);
  const auto reading = context_.read(file, verifier, false);
  return !reading.damage && finder.switch_end &&
         context_.cluster.segment_size.start(node.segno) + offset >= *finder.switch_end;
}

/// A .partial next to the complete file: a leftover, but its valid part must be the same WAL.
void FormsCheck::check_partial_beside(const Node& node, const archive::SegmentFileName& sound) {
  for (const auto& file : node.partial) {
    const auto name = file.to_string();
    try {
      auto verifier = context_.new_verifier(node, nullptr);
      context_.read(file, verifier, false);
      const auto start = context_.cluster.segment_size.start(node.segno);
      const auto end = verifier.last_record_end();
      if (end <= start) continue;
      const auto offset = archive::first_difference(context_.shelf, sound, file,
                                                    context_.cluster.segment_size, end - start);
      if (!offset || replay_filler(node, sound, *offset)) continue;
      Finding finding;
      finding.kind = FindingKind::forms_differ;
      finding.file = name;
      finding.timeline = node.timeline;
      finding.offset = *offset;
      finding.found_at = start + *offset;
      finding.what = fmt::format("the partial file's WAL differs from that of {}, which is valid",
                                 sound.to_string());
      finding.hint = fmt::format("Move {} away.", name);
      context_.results.add(std::move(finding));
    } catch (const Error& error) {
      if (archive::is_gone(error)) continue;
      auto finding = error_finding(context_, node, name, error, 0);
      finding.loss = std::nullopt;
      finding.hint = fmt::format("{} is sound. Move {} away.", sound.to_string(), name);
      context_.results.add(std::move(finding));
    }
  }
}

void FormsCheck::check_switch_copy(const SwitchCopy& copy) {
  const auto& old_node = context_.plan.nodes[copy.old_node];
  const auto& new_node = context_.plan.nodes[copy.new_node];
  const auto start = context_.cluster.segment_size.start(old_node.segno);
  // Its current file: it may have been completed or compressed since it was listed.
  const auto file_of = [&](const Node& node) -> archive::SegmentFileName {
    const auto listed = node.is_finished() ? node.finished.front() : node.partial.front();
    if (context_.shelf.find(listed.to_string())) return listed;
    return archive::find_finished(context_.shelf, node.name).value_or(listed);
  };
  for (std::size_t i = 0; i < kMostAttempts; ++i)
    if (check_switch_copy(copy, file_of(old_node), file_of(new_node), start)) return;
}

/// False if one of the files is gone, and must be looked up again.
bool FormsCheck::check_switch_copy(const SwitchCopy& copy, const archive::SegmentFileName& old_file,
                                   const archive::SegmentFileName& new_file, wal::Lsn start) {
  const auto& old_node = context_.plan.nodes[copy.old_node];
  const auto& new_node = context_.plan.nodes[copy.new_node];
  auto upto = copy.switchpoint;
  try {
    for (const auto& [node, file] :
         {std::pair(&old_node, old_file), std::pair(&new_node, new_file)}) {
      if (!file.partial) continue;
      // After its end a partial file has no WAL.
      auto verifier = context_.new_verifier(*node, nullptr);
      context_.read(file, verifier, false);
      upto = std::min(upto, std::max(start, verifier.last_record_end()));
    }
    if (upto <= start) return true;
    const auto offset = archive::first_difference(context_.shelf, old_file, new_file,
                                                  context_.cluster.segment_size, upto - start);
    if (!offset) return true;
    Finding finding;
    finding.kind = FindingKind::forms_differ;
    finding.file = old_file.to_string();
    finding.timeline = old_node.timeline;
    finding.offset = *offset;
    finding.found_at = start + *offset;
    finding.what =
        fmt::format("{} must begin with the same WAL up to the switchpoint {}, but does not",
                    new_file.to_string(), copy.switchpoint);
    finding.hint =
        "One of the two is damaged, or the history file contains a wrong switchpoint: compare them "
        "with the servers' pg_wal.";
    context_.results.add(std::move(finding));
  } catch (const Error& error) {
    // Any unreadable file was reported when its segment was checked.
    return !archive::is_gone(error) ||
           (!archive::find_finished(context_.shelf, old_node.name) && old_node.is_finished()) ||
           (!archive::find_finished(context_.shelf, new_node.name) && new_node.is_finished());
  }
  return true;
}

}  // namespace weir::verify
