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
#include "store/ledger/manifest_chain.h"
#include "store/ledger/manifest_memory.h"
#include "store/ledger/signify.h"
#include "store/object_store.h"
#include "store/write_once.h"

namespace weir::store {

/// A unique name for a chain.
[[nodiscard]] std::string new_manifest_id();

/// Writes a chain of manifest lines to a store. Nothing is written until put(), which can be
/// repeated after failures: an object is always put as a whole, so a lost answer or a killed
/// process leaves a chain that can be continued. One thread.
///
/// A request that was given up may still take effect after newer lines were written. So an object
/// only replaces the version that was seen ("If-Match"): in a store that supports this, an older
/// object cannot replace a newer one. In other stores such objects are in doubt for a time, and
/// must be checked again; and the object is compared with the version that was seen before it is
/// replaced: another process that continues the chain is seen, unless both write at that moment.
///
/// If the store does not permit to replace objects (credentials that may only create them, a policy
/// of the container), a new chain starts, and each of its objects is put once, when it is full.
class ManifestWriter {
 public:
  /// Does not own the store. `key`: nullptr: not signed.
  ManifestWriter(ObjectStore& store, const Layout& layout, std::shared_ptr<const SignifyKey> key,
                 Log& log, Conditions conditions = Conditions::ignored)
      : store_(store),
        layout_(layout),
        key_(std::move(key)),
        log_(log),
        conditions_(conditions),
        etags_are_md5_(store.traits().etag_is_md5) {}

  /// Continues the remembered chain, or starts one with this name. The store may have more lines of
  /// it (the process was killed before it could remember them), or fewer: that is reported, and the
  /// lines are put again as far as they are remembered, in a new chain if the object before them is
  /// gone as well. If the lines differ, another process has written them: that is reported, and a
  /// new chain starts. An object without valid lines is written again. Throws StoreError.
  void start(const std::optional<ManifestMemory>& memory, const std::string& new_id);
  /// Continues a chain that many processes write from the store's copy. With a key, it is one for
  /// that key, with its number in the name, and no line without its signature is continued: it may
  /// be anybody's. Throws Error{damage} if the copy is invalid, or not signed with the key.
  void start_with_store(const std::string& name);

  void append(ManifestEntry entry);
  /// Some lines have not been put yet.
  [[nodiscard]] bool due() const { return !full_.empty() || (dirty_ && !waits()); }
  /// Throws StoreError; Error{retry} if another process has written a shared chain. If it has
  /// continued this one, a new chain starts.
  void put();

  /// How long a request that was given up may still take effect: its signature is valid for 15 min.
  static constexpr std::chrono::minutes kDoubtLasts{15};
  /// An object was put, and an older request that was given up may still replace it. Never if
  /// conditional writes are supported.
  [[nodiscard]] bool in_doubt() const { return !doubts_.empty(); }
  /// Checks the objects in doubt, and puts those again that differ from what was put last. Throws
  /// StoreError.
  void look_again();
  /// No request took effect for kDoubtLasts.
  void end_doubt() { doubts_.clear(); }

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] std::uint64_t lines() const { return lines_; }
  [[nodiscard]] const std::string& head() const { return head_; }
  /// As of the last full object: it changes seldom.
  [[nodiscard]] const std::string& full_head() const { return full_head_; }
  [[nodiscard]] bool is_signed() const { return key_ != nullptr; }
  /// To be remembered once put() has returned.
  [[nodiscard]] ManifestMemory memory() const { return {id_, lines_, head_, tail_, only_full_}; }

 private:
  struct Unsent {
    std::uint64_t number = 0;
    std::vector<std::string> lines;
  };
  [[nodiscard]] std::uint64_t tail_number() const;
  [[nodiscard]] std::optional<std::string> read_object(std::uint64_t number);
  [[nodiscard]] std::optional<std::vector<std::string>> read_from(std::uint64_t number,
                                                                  bool& signed_as_ours);
  void begin(const std::string& id);
  /// The newest lines are kept until they fill an object.
  [[nodiscard]] bool waits() const;
  void put_all();
  /// The object that is due exists, and can be read: it was not permitted to replace it.
  [[nodiscard]] bool is_unreplaceable();
  void start_again(const std::string& new_id);
  void tell_left(const std::string& key, const std::string& new_id);
  void tell_rewritten(const std::string& key);
  void add_line(std::string text);
  [[nodiscard]] std::string text_of(std::uint64_t number, std::span<const std::string> lines) const;
  void put_object(std::uint64_t number, std::span<const std::string> lines);
  void put_text(std::uint64_t number, const std::string& text, bool locked);
  [[nodiscard]] ObjectStore::Put put_over_known(std::uint64_t number, const std::string& key,
                                                const Content& content);
  [[nodiscard]] bool takes_more(std::uint64_t number, const std::string& there,
                                const std::string& text);
  void require_ours(std::uint64_t number, const std::string& key, const std::string& there,
                    const std::string& text);

  ObjectStore& store_;
  const Layout& layout_;
  const std::shared_ptr<const SignifyKey> key_;
  Log& log_;
  const Conditions conditions_;
  bool many_write_ = false;  ///< other processes may write this chain as well
  struct There {
    std::uint64_t number = 0;
    std::string etag{};
  };
  std::optional<There> there_{};  ///< the newest object, as last put or read
  bool etags_are_md5_;            ///< as far as seen
  bool compares_ = true;          ///< the store's ETags identify an object's version
  struct Doubt {
    std::string text{};  ///< put last; empty: nothing since
    bool locked = false;
  };
  std::map<std::uint64_t, Doubt> doubts_{};  ///< by object
  std::string id_{};
  std::uint64_t lines_ = 0;
  std::string head_{};
  std::string full_head_{};
  std::vector<std::string> tail_{};  ///< lines of the newest object
  std::deque<Unsent> full_{};        ///< full objects before it
  bool dirty_ = false;               ///< the newest object must be put
  bool only_full_ = false;           ///< no object can be replaced
};

}  // namespace weir::store
