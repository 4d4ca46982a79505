#include "verify/context.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "archive/segment_reader.h"
#include "archive/sizes.h"
#include "base/error.h"

namespace weir::verify {

using wal::Lsn;

Context::Context(io::Shelf& archive, const Plan& the_plan, const archive::Timelines& timelines,
                 const Cluster& the_cluster, std::optional<Lsn> start_of_backup,
                 const std::vector<archive::PublishedOpen>& published, Results& the_results)
    : shelf(archive),
      plan(the_plan),
      cluster(the_cluster),
      backup_start(start_of_backup),
      results(the_results) {
  for (const auto& node : plan.nodes) {
    if (histories_.contains(node.timeline)) continue;
    const auto history = timelines.history(node.timeline);
    // For a timeline without a history file, it is unknown which pages are an ancestor's.
    if (history && (node.timeline == 1 || !history->ancestors().empty()))
      histories_.emplace(node.timeline, *history);
  }
  for (const auto& each : published)
    if (each.end.valid()) published_.emplace(each.segment, each.end);
}

const wal::TimelineHistory* Context::history(wal::TimelineId timeline) const {
  const auto found = histories_.find(timeline);
  return found == histories_.end() ? nullptr : &found->second;
}

/// True if a timeline was left in that segment, at or before `at`.
bool Context::leaves_within(const Node& node, Lsn at) const {
  return std::any_of(histories_.begin(), histories_.end(), [&](const auto& known) {
    const auto end = known.second.end_of(node.timeline);
    return end && cluster.segment_size.segno(*end) == node.segno && at >= *end;
  });
}

std::optional<Lsn> Context::padded_behind(const Node& node, const archive::SegmentFileName& file,
                                          const wal::Damage& damage) const {
  const auto found = published_.find(node.name);
  if (found == published_.end() || damage.at < found->second) return std::nullopt;
  try {
    if (archive::has_zeros_behind(shelf, file, cluster.segment_size, found->second))
      return found->second;
  } catch (const Error&) {
    // The caller then counts it as damage, and reports it.
  }
  return std::nullopt;
}

bool Context::is_last(const Node& node) const {
  return std::none_of(plan.nodes.begin(), plan.nodes.end(), [&](const Node& other) {
    return other.timeline == node.timeline && other.segno > node.segno;
  });
}

wal::SegmentName Context::segment_of(wal::TimelineId timeline, Lsn lsn) const {
  const auto segno = cluster.segment_size.segno(lsn);
  if (const auto* const known = history(timeline))
    timeline = archive::timeline_of_segment(*known, segno, cluster.segment_size);
  return {timeline, segno, cluster.segment_size};
}

wal::RecordVerifier Context::new_verifier(const Node& node, wal::RecordObserver* observer) const {
  wal::RecordVerifier::Options options;
  options.segment_size = cluster.segment_size;
  options.timeline = node.timeline;
  options.system_identifier = cluster.system_identifier;
  options.server_major = cluster.server_major;
  options.observer = observer;
  options.history = history(node.timeline);
  return wal::RecordVerifier(options, cluster.segment_size.start(node.segno));
}

Context::Reading Context::read(const archive::SegmentFileName& file, wal::RecordVerifier& verifier,
                               bool count) {
  Reading reading;
  archive::read_segment(shelf, file, cluster.segment_size, [&](std::span<const std::byte> wal) {
    if (reading.given == 0) reading.first_page = wal::decode_page_header(wal);
    reading.given += wal.size();
    reading.damage = verifier.feed(wal);
    return (!count || results.moved(wal.size())) && !reading.damage;
  });
  return reading;
}

bool Context::wait_for_writer(const Node& node, const Error& error) {
  using namespace std::chrono_literals;
  if (error.kind() != ErrorKind::damage) return false;
  try {
    for (bool waited = false;; waited = true) {
      const auto change = archive::find_recent_change(shelf, node.name, cluster.segment_size,
                                                      std::chrono::system_clock::now());
      if (!change.ends_early) return waited || change.changed;
      if (!results.moved(0)) return false;
      std::this_thread::sleep_for(50ms);
    }
  } catch (const Error&) {
    return false;  // the first error is reported
  }
}

}  // namespace weir::verify
