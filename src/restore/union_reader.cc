#include "restore/union_reader.h"

#include "restore/partial.h"

namespace weir::restore {

using archive::WalReader;

UnionReader::UnionReader(Archives& archives, const Options& options)
    : archives_(archives), options_(options) {
  for (std::size_t i = 0; i < archives.count(); ++i) {
    WalReader::Options one{.segment_size = options.segment_size,
                           .timeline = options.timeline,
                           .history = options.history};
    if (options.durable_end)
      one.durable_end = [ask = options.durable_end, path = archives.shelf(i).path()] {
        return ask(path);
      };
    finished_.push_back(std::make_unique<WalReader>(archives.shelf(i), one));
    if (!options.unfinished) continue;
    one.unfinished = true;
    one.ancestors_alone = archives.several();
    unfinished_.push_back(std::make_unique<WalReader>(archives.shelf(i), one));
  }
}

archive::WalSource::Read UnionReader::read(wal::Lsn at, std::span<std::byte> into) {
  if (!archives_.several()) {
    last_ = (options_.unfinished ? unfinished_ : finished_).front().get();
    return last_->read(at, into);
  }
  failure_.reset();
  const auto segment = segment_at(at);
  // The last reader comes first: a file that is read sequentially is not reopened.
  if (last_ != nullptr)
    if (const auto file = last_->file(); file && file->segment == segment)
      if (auto read = read_from(*last_, last_archive_, at, into)) return *read;
  for (std::size_t i = 0; i < finished_.size(); ++i)
    if (auto read = read_from(*finished_[i], i, at, into)) return *read;
  if (options_.unfinished && !failure_)
    if (const auto i = longest(segment))
      if (auto read = read_from(*unfinished_[*i], *i, at, into)) return *read;
  return failure_.value_or(Read{});
}

/// nullopt if it has not these bytes: another one may.
std::optional<archive::WalSource::Read> UnionReader::read_from(WalReader& reader,
                                                               std::size_t archive, wal::Lsn at,
                                                               std::span<std::byte> into) {
  const auto segment = segment_at(at);
  if (archives_.silent(archive)) return std::nullopt;
  if (options_.unsound != nullptr && options_.unsound->contains({archive, segment}))
    return std::nullopt;
  try {
    auto read = reader.read(at, into);
    if (read.state == State::gone) return std::nullopt;
    if (read.state == State::damaged) {
      if (!failure_) failure_ = std::move(read);
      return std::nullopt;
    }
    last_ = &reader;
    last_archive_ = archive;
    return read;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::io && error.kind() != ErrorKind::retry) throw;
    // That one may be valid: damage of another one is not the result.
    if (!failure_ || failure_->error->kind() == ErrorKind::damage)
      failure_ = Read{State::damaged, 0, error};
    return std::nullopt;
  }
}

std::optional<std::size_t> UnionReader::longest(wal::SegmentName segment) {
  const auto known = longest_.find(segment);
  if (known != longest_.end()) return known->second;
  std::optional<std::size_t> archive;
  const auto best = find_partial(archives_, segment, options_.segment_size, options_.durable_end);
  if (best) archive = best->copy.archive;
  if (best && begins_a_timeline(segment)) {
    // Another archive's file of an ancestor may have more up to the switchpoint.
    auto reached = best->cut;
    for (std::size_t i = 0; i < unfinished_.size(); ++i) {
      if (archives_.silent(i)) continue;
      if (options_.unsound != nullptr && options_.unsound->contains({i, segment})) continue;
      const auto end = unfinished_[i]->unfinished_end(segment.start(options_.segment_size));
      if (!end || end->records <= reached) continue;
      reached = end->records;
      archive = i;
    }
  }
  return longest_[segment] = archive;
}

/// Within that segment, after its first byte.
bool UnionReader::begins_a_timeline(wal::SegmentName segment) const {
  if (!options_.history) return false;
  const auto begin = options_.history->begin_of(segment.timeline());
  return begin && *begin > segment.start(options_.segment_size) &&
         options_.segment_size.segno(*begin) == segment.segno(options_.segment_size);
}

std::optional<Copy> UnionReader::copy() const {
  if (last_ == nullptr) return std::nullopt;
  const auto file = last_->file();
  if (!file) return std::nullopt;
  return Copy{last_archive_, *file};
}

}  // namespace weir::restore
