#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/option.h"
#include "cli/options/common_options.h"
#include "codec/codec.h"
#include "store/open_store.h"
#include "store/send/keep_local.h"
#include "store/send/uploader.h"

namespace weir::cli {

// The object store and how it is accessed: the same options for each command that uses one.

extern const Option kStoreOptions[18];
/// --store itself, and the options that say how it is reached: with --slot, or without it, where a
/// command has that for more than a name.
inline constexpr std::span<const Option> kStoreItself{kStoreOptions, 1};
inline constexpr std::span<const Option> kStoreAccess{kStoreOptions + 1, 16};
inline constexpr std::span<const Option> kStoreAccessWithSlot{kStoreOptions + 1, 17};
inline constexpr Topic kOnStore{"store", "object store: endpoint, credentials, keys"};
inline constexpr std::string_view kStoreHeading = "Archive in an object store (docs/store.md):";
inline constexpr std::string_view kAccessHeading =
    "Object store ([store] in a configuration file):";
/// Private keys: for commands that read, never for one that runs on the archive's host.
extern const Option kIdentityOptions[2];
inline constexpr auto kEncryptTo = repeated(option_of<any_text>(
    "encrypt-to", "KEY|FILE",
    "encrypt uploads with age for this recipient (age1...) or for those in FILE; can be repeated"));
/// "gzip", "zstd:7", "none": see codec::Compression::parse().
[[nodiscard]] codec::Compression store_compression_value(const std::string& text);
inline constexpr auto kStoreCompression = option_of<store_compression_value>(
    "store-compression", "METHOD",
    "format of uploaded segments: gzip, zstd, lz4 or none, with a level such as gzip:1 (default: "
    "that of the archive's files)");
/// Source of the archive's name in the store, if it is not set explicitly.
enum class StoreName {
  directory,  ///< the slot's name, or the last part of the directory
  said,  ///< the same, except for the directory of the command line: a recovery may use a copy of
         ///< the archive anywhere, and would query a name that does not exist
};
/// Commands that only upload do not read private keys: a configuration file for all commands names
/// them, and the machine that archives should not have them.
enum class PrivateKeys { read, ignored };
/// Throws Error{usage} where --store is missing, or the archive has no name that it could have
/// there.
[[nodiscard]] store::StoreOptions store_options_of(const Arguments& arguments,
                                                   StoreName from = StoreName::directory,
                                                   PrivateKeys keys = PrivateKeys::read);
/// Warnings of an uploading command: private keys named by its file that it does not use, and that
/// this process can read.
[[nodiscard]] std::vector<std::string> warnings_of_private_keys(const Arguments& arguments);
/// Returns the encryption of files uploaded from this archive; creates the key that compares, if
/// there is none.
[[nodiscard]] store::Sealing sealing_for(const store::StoreOptions& options,
                                         const std::string& archive);
/// True if --store is given.
[[nodiscard]] bool names_store(const Arguments& arguments);

/// "64GB" or "7d": how much of the stored WAL is also kept locally.
[[nodiscard]] store::KeepLocal keep_local_value(const std::string& text);
inline constexpr auto kLocalRetention = option_of<keep_local_value>(
    "local-retention", "SIZE|TIME",
    "remove segments that are verified to be in the store, oldest first, until at most SIZE "
    "remains (such as 64GB), or those older than TIME (such as 7d)");

inline constexpr auto kStorePartialInterval =
    option_of<time_value<kSecond, kDay>>("store-partial-interval", "TIME",
                                         "upload the flushed part of the current segment every "
                                         "TIME, as separate objects (default: off)");
inline constexpr Choice<bool> kConfirmations[] = {{"local", false}, {"stored", true}};
inline constexpr auto kConfirm = option_of<choice_value<kConfirmations>>(
    "confirm", "WHERE",
    "when to confirm WAL to the server: local (default), once flushed to the archive; stored, once "
    "also in the store, so that the slot retains the rest");

/// The same for another command line: the options set that determine the store and how it is read.
/// File names are absolute.
[[nodiscard]] std::vector<std::string> store_words(const Arguments& arguments);

}  // namespace weir::cli
