#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
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
#include "store/write_once.h"

namespace weir::store {

/// A name for a chain that nobody else has.
[[nodiscard]] std::string new_manifest_id();

/// Writes a chain of manifest lines into a store. Nothing is written until put(), which may be done
/// again as often as it fails: an object is put as a whole, so an answer that was lost, or a
/// process that ended in the middle, leaves a chain that goes on. One thread.
///
/// A request that was given up may take effect later, when newer lines are there. So an object is
/// put over the one that was seen there and no other ("If-Match"): in a store that heeds that, no
/// older one can come over a newer one. In others such objects are in doubt for a time, and to be
/// looked at again.
class ManifestWriter {
 public:
  /// Does not own the store. `key`: nullptr: it is not signed.
  ManifestWriter(ObjectStore& store, const Layout& layout, std::shared_ptr<const SignifyKey> key,
                 Log& log, Conditions conditions = Conditions::ignored)
      : store_(store), layout_(layout), key_(std::move(key)), log_(log), conditions_(conditions) {}

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
  /// Throws StoreError; Error{retry} where somebody else has written a chain that many write.
  void put();

  /// So long a request that was given up may still take effect: its signature is good for 15 min.
  static constexpr std::chrono::minutes kDoubtLasts{15};
  /// An object was put, and an older one of a request that was given up may yet come over it. Never
  /// where conditions are heeded.
  [[nodiscard]] bool in_doubt() const { return !doubts_.empty(); }
  /// Looks at the objects in doubt, and puts those again that are not what was put last. Throws
  /// StoreError.
  void look_again();
  /// For kDoubtLasts nothing has come.
  void end_doubt() { doubts_.clear(); }

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
  [[nodiscard]] std::string text_of(std::uint64_t number, std::span<const std::string> lines) const;
  void put_object(std::uint64_t number, std::span<const std::string> lines);
  void put_text(std::uint64_t number, const std::string& text, bool locked);
  [[nodiscard]] ObjectStore::Put put_over_known(std::uint64_t number, const std::string& key,
                                                const Content& content);
  void require_ours(std::uint64_t number, const std::string& key, const std::string& there,
                    const std::string& text);

  ObjectStore& store_;
  const Layout& layout_;
  const std::shared_ptr<const SignifyKey> key_;
  Log& log_;
  const Conditions conditions_;
  bool many_write_ = false;  ///< other processes may write this chain, too
  struct There {
    std::uint64_t number = 0;
    std::string etag{};
  };
  std::optional<There> there_{};  ///< the newest object, as it was put or read last
  bool etags_are_md5_ = true;     ///< as far as was seen
  bool compares_ = true;          ///< the store tells by an ETag whether an object is the same one
  struct Doubt {
    std::string text{};  ///< that was put last; empty: nothing since
    bool locked = false;
  };
  std::map<std::uint64_t, Doubt> doubts_{};  ///< by object
  std::string id_{};
  std::uint64_t lines_ = 0;
  std::string head_{};
  std::string full_head_{};
  std::vector<std::string> tail_{};  ///< lines of the newest object
  std::deque<Unsent> full_{};        ///< before it
  bool dirty_ = false;               ///< the newest one was not put as it is
};

}  // namespace weir::store
