#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "store/layout.h"
#include "store/manifest_chain.h"
#include "store/manifest_memory.h"
#include "store/object_store.h"
#include "store/signify.h"

namespace weir::store {

/// A name for a chain that nobody else has.
[[nodiscard]] std::string new_manifest_id();

/// Writes a chain of manifest lines into a store. Nothing is written until put(), which may be done
/// again as often as it fails: an object is put as a whole, so an answer that was lost, or a
/// process that ended in the middle, leaves a chain that goes on. One thread.
class ManifestWriter {
 public:
  /// Does not own the store. `key`: nullptr: it is not signed.
  ManifestWriter(ObjectStore& store, const Layout& layout, std::shared_ptr<const SignifyKey> key,
                 Log& log)
      : store_(store), layout_(layout), key_(std::move(key)), log_(log) {}

  /// Goes on with the chain that is remembered, or begins one of this name. What the store has of
  /// it may be more (the process was killed before it could remember), or less: that is told, and
  /// put again as far as it is remembered. If it is something else, somebody else has written it:
  /// that is told, and a new chain begins. Throws StoreError.
  void start(const std::optional<ManifestMemory>& memory, const std::string& new_id);
  /// Goes on with a chain by what the store has of it. Throws Error{damage} if that cannot be read.
  void start_with_store(const std::string& id);

  void append(ManifestEntry entry);
  /// There is something that was not put.
  [[nodiscard]] bool due() const { return !full_.empty() || dirty_; }
  /// Throws StoreError.
  void put();

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] std::uint64_t lines() const { return lines_; }
  [[nodiscard]] const std::string& head() const { return head_; }
  /// As of the last full object: it changes seldom.
  [[nodiscard]] const std::string& full_head() const { return full_head_; }
  [[nodiscard]] bool is_signed() const { return key_ != nullptr; }
  /// What is to be remembered once put() has returned.
  [[nodiscard]] ManifestMemory memory() const { return {id_, lines_, head_, tail_}; }

 private:
  struct Unsent {
    std::uint64_t number = 0;
    std::vector<std::string> lines;
  };
  [[nodiscard]] std::uint64_t tail_number() const;
  [[nodiscard]] std::optional<std::vector<std::string>> read_from(std::uint64_t number,
                                                                  bool& signed_as_ours);
  void begin(const std::string& id);
  void add_line(std::string text);
  void put_object(std::uint64_t number, std::span<const std::string> lines);

  ObjectStore& store_;
  const Layout& layout_;
  const std::shared_ptr<const SignifyKey> key_;
  Log& log_;
  std::string id_{};
  std::uint64_t lines_ = 0;
  std::string head_{};
  std::string full_head_{};
  std::vector<std::string> tail_{};  ///< lines of the newest object
  std::deque<Unsent> full_{};        ///< before it
  bool dirty_ = false;               ///< the newest one was not put as it is
};

}  // namespace weir::store
