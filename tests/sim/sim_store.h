#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "lineage.h"
#include "random.h"
#include "scheduler.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "story.h"

namespace weir::sim {

/// A bucket, which outlives all processes, and its bad days: it is away for hours, asks for
/// patience, loses a request or its answer, does what it was asked long after the client has given
/// up, answers with an error that means nothing, tells wrong times, loses objects; and another
/// archiver of the cluster is now and then quicker, with the same WAL in other bytes, or (one that
/// follows another branch) with other WAL. What takes effect late is held to the condition that
/// came with it, where conditions are heeded.
///
/// It keeps account of what it was given: an object of WAL is never overwritten by other bytes, and
/// nobody leaves WAL to it without having asked (P15, P17). What it finds is left in complaint().
class SimStore final : public store::ObjectStore {
 public:
  static constexpr const char* kName = "weir";  ///< the archive's

  SimStore(const Lineage& lineage, Scheduler& scheduler, Random& random, Story& story);

  [[nodiscard]] const store::Layout& layout() const { return layout_; }

  /// Called while no thread runs.
  void tick(bool quiet);
  /// It is well from now on, and a person has removed what is no WAL of this cluster.
  void make_good();
  /// For who reads it while no thread runs: so many requests are answered, and no more.
  void answer_only(std::optional<std::uint64_t> requests) { answers_left_ = requests; }

  /// It has this segment, and it is the cluster's WAL.
  [[nodiscard]] bool has(wal::SegmentName segment);
  /// It has an object of the segment that was being written, with all of its WAL up to `end`.
  [[nodiscard]] bool has_beginning(wal::SegmentName segment, wal::Lsn end) const;
  /// It had it since somebody could last have asked, and has lost it.
  [[nodiscard]] bool has_lost(wal::SegmentName segment) const { return lost_.contains(segment); }
  [[nodiscard]] bool has_history(wal::TimelineId timeline) const {
    return objects_.contains(layout_.history_key(timeline));
  }
  /// Likewise, and everything that it has lies behind: so it looks as a prune leaves it.
  [[nodiscard]] bool seems_pruned(wal::SegmentName segment) const;
  [[nodiscard]] bool has_lost_any() const { return !lost_.empty(); }
  /// Ever, whether it has them again or not.
  [[nodiscard]] bool has_been_losing() const { return has_been_losing_; }
  /// It heeds no conditions, and an object of a manifest has come over another one long after the
  /// client had given it up.
  [[nodiscard]] bool manifest_came_late() const { return manifest_came_late_; }
  /// Somebody puts that there, whatever it has.
  void spoil(const std::string& key, std::span<const std::byte> bytes);
  /// A request that took effect late has put a second form of it there (seed 454522 of f9a018c0).
  [[nodiscard]] bool came_twice(wal::SegmentName segment) const { return twice_.contains(segment); }
  /// Objects that are forms of it.
  [[nodiscard]] std::size_t count(wal::SegmentName segment) const;
  /// P17: it is about to leave the archive.
  void on_left_to_us(wal::SegmentName segment);
  /// P15: it counts as sent.
  void on_counted(wal::SegmentName segment);
  [[nodiscard]] const std::optional<Violation>& complaint() const { return complaint_; }
  [[nodiscard]] std::uint64_t stored() const { return stored_; }
  [[nodiscard]] std::uint64_t failures() const { return failures_; }

  /// The thread that asks before it removes anything from the archive.
  static constexpr const char* kKeeper = "store feed";

  [[nodiscard]] std::string name() const override { return "s3://simulated"; }
  [[nodiscard]] Traits traits() const override { return {.etag_is_md5 = true}; }
  [[nodiscard]] Put put_if_absent(const std::string& key, const store::Content& content) override;
  void put(const std::string& key, const store::Content& content) override;
  [[nodiscard]] Put put_if_match(const std::string& key, const store::Content& content,
                                 const std::string& etag) override;
  [[nodiscard]] std::optional<store::ObjectHead> head(const std::string& key) override;
  bool get(const std::string& key, const std::optional<store::Range>& range,
           const codec::Sink& sink) override;
  [[nodiscard]] store::ObjectPage list(const std::string& prefix, const std::string& after,
                                       std::size_t most) override;
  [[nodiscard]] std::vector<store::Kept> remove(std::span<const std::string> keys) override;

 private:
  using Bytes = std::vector<std::byte>;
  struct Object {
    std::shared_ptr<const Bytes> bytes;
    std::string etag;
    store::Metadata metadata;
    std::optional<bool> right{};  ///< it is the cluster's WAL; looked at once
  };
  /// The ETag of what has to be under the key, empty: of nothing. nullopt: whatever is there.
  using Condition = std::optional<std::string>;
  /// A PUT of which the client has given up hope.
  struct Late {
    std::string key;
    Object object;
    Condition condition;
    receive::Time not_before{};
  };
  enum class Conditions { heeded, ignored, refused };

  template <typename Action>
  auto with(Action action) -> decltype(action());
  [[nodiscard]] Object object_of(const store::Content& content) const;
  Put place(const std::string& key, Object object, const Condition& condition);
  void perhaps_late(const std::string& key, Object& object, const Condition& condition);
  void do_late(Late& late);
  void note_rollback(const std::string& key, const Object& there, const Object& object);
  [[nodiscard]] bool is_manifest(const std::string& key) const;
  [[nodiscard]] std::optional<archive::SegmentFileName> segment_of(const std::string& key) const;
  [[nodiscard]] bool right(const std::string& key, Object& object) const;
  void another_archiver(const std::string& key);
  void lose_one();
  void asked(const std::string& key);

  const Lineage& lineage_;
  Scheduler& scheduler_;
  Random& random_;
  Story& story_;
  const store::Layout layout_;
  const Conditions conditions_;
  std::map<std::string, Object> objects_;
  std::vector<Late> late_;
  std::set<wal::SegmentName> lost_;
  std::set<wal::SegmentName> twice_;
  bool has_been_losing_ = false;
  bool manifest_came_late_ = false;
  /// Of which the keeper has heard since it last looked at everything.
  std::set<wal::SegmentName> asked_;
  bool quiet_ = false;
  receive::Time away_until_{};
  std::optional<std::uint64_t> answers_left_;
  std::optional<Violation> complaint_;
  std::uint64_t stored_ = 0;
  std::uint64_t failures_ = 0;
};

}  // namespace weir::sim
