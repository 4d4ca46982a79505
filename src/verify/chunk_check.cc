#include "verify/chunk_check.h"

#include <algorithm>
#include <span>
#include <utility>

#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "archive/segment_writer.h"
#include "verify/findings.h"
#include "wal/unfinished_reader.h"

// How records are checked across segment boundaries although segments are read in parallel: a chunk
// is a row of segments that one verifier reads from end to end. At the end of a chunk, and at each
// fork of a timeline, a copy of the verifier continues into the segment after the boundary until
// the first record that starts there is complete. Each record is therefore checked by a verifier
// that saw its first byte, and each prev-link by one that saw the record before. Only the start of
// a chunk's first segment is read twice.

namespace weir::verify {

using wal::Lsn;
using State = Outcome::State;

namespace {

/// Passes records on, and notices whether one crosses a boundary between segments.
class BorderWatch final : public wal::RecordObserver {
 public:
  BorderWatch(wal::RecordObserver& next, Lsn border) : next_(next), border_(border) {}
  bool wants(const wal::RecordHeader& header) override { return next_.wants(header); }
  void on_record(Lsn start, Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    crossed = crossed || (start < border_ && end > border_);
    next_.on_record(start, end, header, body);
  }
  bool crossed = false;

 private:
  wal::RecordObserver& next_;
  const Lsn border_;
};

}  // namespace

void ChunkCheck::check_chunk(const std::vector<std::size_t>& chunk) {
  const auto observer = new_watch(chunk.front());
  std::optional<wal::RecordVerifier> verifier;
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    if (!verifier)
      verifier.emplace(context_.new_verifier(context_.plan.nodes[chunk[i]], observer.get()));
    const auto records_before = verifier->records();
    if (!forms_.check(chunk[i], verifier)) verifier.reset();
    if (context_.results.stopped()) return;
    if (verifier) context_.results.count_records(verifier->records() - records_before);
    const auto next = i + 1 < chunk.size() ? std::optional(chunk[i + 1]) : std::nullopt;
    follow_children(chunk[i], verifier, next, observer.get());
  }
}

void ChunkCheck::follow_children(std::size_t node,
                                 const std::optional<wal::RecordVerifier>& verifier,
                                 std::optional<std::size_t> next, RecordWatch* observer) {
  // A chunk does not count the record that it starts in: it is counted here, where it was read from
  // its first byte; once, whichever segment continues it.
  bool is_counted = next.has_value();
  for (const auto child : context_.plan.nodes[node].children) {
    if (child == next || !context_.plan.nodes[child].chosen) continue;
    if (!context_.plan.nodes[child].is_finished())
      check_partial(child, verifier, observer);
    else if (verifier && check_border(context_.plan.nodes[node], *verifier, child, *observer) &&
             !std::exchange(is_counted, true))
      context_.results.count_records(1);
  }
}

/// Continues until the first record that starts after the boundary is complete. Returns true if a
/// record that starts before the boundary is complete after it.
bool ChunkCheck::check_border(const Node& parent, wal::RecordVerifier verifier, std::size_t child,
                              RecordWatch& observer) {
  const auto border = context_.cluster.segment_size.start(parent.segno + 1);
  // The WAL read here belongs to the child's timeline.
  const auto records = new_watch(child);
  BorderWatch watch(*records, border);
  const RecordWatch::Passed passed(observer, watch);
  constexpr auto kNone = static_cast<std::size_t>(-1);
  for (auto next = child; next != kNone;) {
    const auto index = next;
    const auto& node = context_.plan.nodes[index];
    next = kNone;
    if (!node.is_finished() || !node.chosen) return false;
    verifier.follow(node.timeline, context_.history(node.timeline));
    std::optional<wal::Damage> damage;
    std::optional<wal::PageHeader> first_page;
    bool enough = false;
    std::uint64_t given = 0;
    // Another file, if the first one is broken or damaged, which is reported when the segment
    // itself is checked.
    auto forms = node.finished;
    std::optional<Finding> unread;
    std::optional<std::pair<Finding, Lsn>> broken;  // of the first one, and where the WAL ends
    bool waited = false;
    for (std::size_t i = 0; i < forms.size(); ++i) {
      const auto file = forms[i];
      auto attempt = verifier;
      damage = std::nullopt;
      enough = false;
      given = 0;
      try {
        archive::read_segment(
            context_.shelf, file, context_.cluster.segment_size,
            [&](std::span<const std::byte> wal) {
              if (given == 0) first_page = wal::decode_page_header(wal);
              given += wal.size();
              // Page by page: bytes after the record are not checked here.
              while (!wal.empty() && !enough && !damage) {
                const auto page = wal.first(std::min<std::size_t>(wal.size(), wal::kPageSize));
                wal = wal.subspan(page.size());
                damage = attempt.feed(page);
                enough = attempt.last_record_start() >= border || attempt.unchecked();
              }
              return !enough && !damage;
            });
      } catch (const Error& error) {
        if (!archive::is_gone(error)) {
          if (!unread) unread = border_finding(context_, node, file.to_string(), error);
          if (!waited && (context_.wait_for_writer(node, error) || error.kind() == ErrorKind::io)) {
            waited = true;
            forms.push_back(file);
          }
          continue;
        }
        if (forms.size() >= kMostAttempts) continue;
        const auto other = archive::find_finished(context_.shelf, node.name);
        if (other && std::find(forms.begin() + static_cast<std::ptrdiff_t>(i) + 1, forms.end(),
                               *other) == forms.end())
          forms.push_back(*other);
        continue;
      }
      if (damage &&
          (attempt.last_record_start() >= border || context_.padded_behind(node, file, *damage)))
        return watch.crossed;
      unread.reset();
      if (!damage) {
        verifier = std::move(attempt);
        broken.reset();
        break;
      }
      // The damage may be in the front of the record: an unfinished segment may have been torn
      // anywhere. That segment is reported, since finished ones follow it (Planner::gap()).
      if (!parent.is_finished()) return false;
      if (!broken)
        broken = {damage_finding(context_, node, file.to_string(), *damage, first_page),
                  attempt.last_record_end()};
    }
    if (broken) {
      context_.results.add(std::move(broken->first));
      context_.results.border_broken(child, broken->second);
      return false;
    }
    if (unread) context_.results.border_unread(index, *std::move(unread));
    if (enough || given < context_.cluster.segment_size.bytes()) return watch.crossed;
    for (const auto grandchild : node.children)
      if (context_.plan.nodes[grandchild].timeline == node.timeline) next = grandchild;
  }
  return watch.crossed;
}

void ChunkCheck::check_lone_partial(std::size_t node) {
  const auto observer = new_watch(node);
  check_partial(node, std::nullopt, observer.get());
}

/// True for a partial segment that neither a complete segment nor another timeline follows.
bool ChunkCheck::is_received_again(std::size_t index) const {
  const auto& nodes = context_.plan.nodes;
  const auto& node = nodes[index];
  return std::none_of(nodes.begin(), nodes.end(), [&](const Node& other) {
    return other.timeline > node.timeline ||
           (other.timeline == node.timeline && other.segno > node.segno && other.is_finished());
  });
}

/// False for a partial segment of which nothing was written yet, as a power loss leaves one. By the
/// rules of "restore --partial". (An unreadable file may have WAL.)
bool ChunkCheck::has_begun(const Node& node) const {
  const auto start = context_.cluster.segment_size.start(node.segno);
  return std::any_of(node.partial.begin(), node.partial.end(), [&](const auto& file) {
    try {
      const auto page = archive::read_first_page_header(context_.shelf, file);
      return page && page->address == start;
    } catch (const Error&) {
      return true;
    }
  });
}

/// `verifier` is at the end of the segment before; nullopt: that segment was not verified.
void ChunkCheck::check_partial(std::size_t index, std::optional<wal::RecordVerifier> verifier,
                               RecordWatch* observer) {
  const auto& node = context_.plan.nodes[index];
  const auto start = context_.cluster.segment_size.start(node.segno);
  // The records of a new timeline are not the parent's, and its beginning is checked.
  const auto own = new_watch(index);
  std::optional<RecordWatch::Passed> passed;
  if (node.parent && context_.plan.nodes[*node.parent].timeline != node.timeline)
    passed.emplace(*observer, *own);
  if (!verifier)
    verifier.emplace(context_.new_verifier(node, observer));
  else
    verifier->follow(node.timeline, context_.history(node.timeline));
  const auto before = *verifier;
  const auto& file = node.partial.front();
  const auto name = file.to_string();

  std::optional<wal::Damage> earlier;
  for (std::size_t attempt_number = 0;; ++attempt_number) {
    auto attempt = before;
    wal::UnfinishedReader reader(attempt, start);
    try {
      archive::read_segment(context_.shelf, file, context_.cluster.segment_size,
                            [&](std::span<const std::byte> wal) {
                              reader.take(wal);
                              return attempt_number > 0 || context_.results.moved(wal.size());
                            });
      if (context_.results.stopped()) return;
      reader.finish();
    } catch (const Error& error) {
      if (archive::is_gone(error)) {
        check_finished_meanwhile(index, before, observer);
        return;
      }
      context_.results.add(error_finding(context_, node, name, error, reader.given()));
      context_.results.settle(index, {State::damaged, attempt.last_record_end(), name});
      return;
    }
    const auto& damage = reader.damage();
    const auto end = std::max(attempt.last_record_end(), std::min(start, before.last_record_end()));
    if (damage && reader.written_behind()) {
      // If it was read while a receiver was writing, the position where it ends moves.
      if ((!earlier || earlier->found_at < damage->found_at) && attempt_number < kMostAttempts) {
        earlier = *damage;
        continue;
      }
      auto finding = damage_finding(context_, node, name, *damage, reader.first_page());
      finding.what += "; but WAL was written after it";
      const auto& size = context_.cluster.segment_size;
      const auto goes_on = reader.goes_on_behind_zeros();
      if (goes_on && size.offset(*goes_on) % archive::kLargestBuffered == 0)
        finding.what += fmt::format(
            ", from {} on, with zeros in between: this is left by a killed receiver that writes "
            "segments in pieces, and WAL after a missing piece was not confirmed",
            *goes_on);
      if (is_received_again(index))
        finding.hint =
            "Restart the receiver: it receives a partial segment from its first byte on, including "
            "the missing part. If the server no longer has that WAL: " +
            finding.hint;
      context_.results.add(std::move(finding));
      context_.results.settle(index, {State::damaged, end, name});
      return;
    }
    const bool header_wrong = damage && reader.first_page() && reader.first_page()->long_header &&
                              damage->found_at < start + wal::kLongHeaderSize &&
                              wal::major_version_of_magic(reader.first_page()->magic) &&
                              reader.first_page()->address != Lsn();
    if (header_wrong) {
      // The address of a recycled file that was not yet written to is an older one.
      const bool recycled =
          reader.first_page()->address < start &&
          reader.first_page()->system_identifier == context_.cluster.system_identifier;
      if (!recycled) {
        context_.results.add(damage_finding(context_, node, name, *damage, reader.first_page()));
        context_.results.settle(index, {State::damaged, end, name});
        return;
      }
    }
    context_.results.count_file();
    context_.results.count_records(attempt.records() - before.records());
    const bool whole = !damage && reader.given() == context_.cluster.segment_size.bytes();
    context_.results.settle(
        index, {whole ? State::sound : State::partial, whole ? start + reader.given() : end, name});
    // A receiver that finishes one segment may already write the next one. But if this one is not
    // whole, the next is out of reach.
    const auto next = std::find_if(
        node.children.begin(), node.children.end(),
        [&](std::size_t child) { return context_.plan.nodes[child].timeline == node.timeline; });
    if (next != node.children.end() && !whole && !context_.plan.nodes[*next].is_finished() &&
        has_begun(context_.plan.nodes[*next])) {
      Finding finding;
      finding.kind = FindingKind::damage;
      finding.file = name;
      finding.timeline = node.timeline;
      finding.lsn = end;
      finding.found_at = damage ? damage->found_at : end;
      finding.what = fmt::format("the .partial file ends here, but {} exists as well",
                                 context_.plan.nodes[*next].partial.front().to_string());
      finding.hint = "Have the receiver fetch the segment again.";
      finding.loss = loss_of(node, end, context_.cluster.segment_size);
      context_.results.add(std::move(finding));
    }
    follow_children(index, whole ? std::optional(attempt) : std::nullopt, std::nullopt, observer);
    return;
  }
}

/// A .partial that was renamed into place meanwhile, and perhaps has another format already.
void ChunkCheck::check_finished_meanwhile(std::size_t index, const wal::RecordVerifier& before,
                                          RecordWatch* observer) {
  const auto& node = context_.plan.nodes[index];
  for (std::size_t i = 0; i < kMostAttempts; ++i) {
    const auto form = archive::find_finished(context_.shelf, node.name);
    if (!form) break;
    const auto name = form->to_string();
    auto verifier = before;
    try {
      const auto reading = context_.read(*form, verifier, false);
      context_.results.count_file();
      context_.results.count_records(verifier.records() - before.records());
      if (reading.damage)
        context_.results.add(
            damage_finding(context_, node, name, *reading.damage, reading.first_page));
      context_.results.settle(index,
                              {reading.damage ? State::damaged : State::sound,
                               reading.damage ? verifier.last_record_end()
                                              : context_.cluster.segment_size.start(node.segno + 1),
                               name});
      follow_children(index, reading.damage ? std::nullopt : std::optional(verifier), std::nullopt,
                      observer);
      return;
    } catch (const Error& error) {
      if (archive::is_gone(error)) continue;  // compressed, converted or removed
      context_.results.add(
          error_finding(context_, node, name, error, verifier.position() - before.position()));
      context_.results.settle(index, {State::damaged, verifier.last_record_end(), name});
      return;
    }
  }
  context_.results.settle(index, {State::vanished, {}, {}});
}

}  // namespace weir::verify
