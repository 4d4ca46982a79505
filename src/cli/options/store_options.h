#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/option.h"
#include "cli/options/common_options.h"
#include "store/keep_local.h"
#include "store/open_store.h"
#include "store/uploader.h"

namespace weir::cli {

// Which object store, and how it is spoken to: the same options for each command that has to do
// with one.

extern const Option kStoreOptions[17];
/// Without --slot, which a command may have for more than a name.
inline constexpr std::span<const Option> kStoreOptionsAlone{kStoreOptions, 16};
/// Private keys: of commands that read, never of one that runs beside an archive.
extern const Option kIdentityOptions[2];
inline constexpr auto kEncryptTo = repeated(option_of<any_text>(
    "encrypt-to", "KEY|FILE",
    "encrypt what is sent (age): to this recipient, age1..., or those of a file; repeated"));
/// Where the archive's name in the store comes from, if it is not given by itself.
enum class StoreName {
  directory,  ///< the slot's name, or the last part of the directory
  said,  ///< the same, but not the directory of the command line: who recovers may have a copy of
         ///< the archive anywhere, and would ask a place where there is nothing
};
/// Throws Error{usage} where --store is missing, or the archive has no name that it could have
/// there.
[[nodiscard]] store::StoreOptions store_options_of(const Arguments& arguments,
                                                   StoreName from = StoreName::directory);
/// How what is sent from this archive is encrypted; makes the key that compares, if there is none.
[[nodiscard]] store::Sealing sealing_for(const store::StoreOptions& options,
                                         const std::string& archive);
/// --store is given.
[[nodiscard]] bool names_store(const Arguments& arguments);

/// "64GB" or "7d": how much of what the store has stays here as well.
[[nodiscard]] store::KeepLocal keep_local_value(const std::string& text);
inline constexpr auto kLocalRetention = option_of<keep_local_value>(
    "local-retention", "SIZE|TIME",
    "remove finished segments that the store surely has, the oldest first, until so much is left "
    "(64GB), or those that are older (7d)");

inline constexpr auto kStorePartialInterval = option_of<time_value<kSecond, kDay>>(
    "store-partial-interval", "TIME",
    "send what is durable of the open segment so often, too, as objects of its own (default: not)");
inline constexpr Choice<bool> kConfirmations[] = {{"local", false}, {"stored", true}};
inline constexpr auto kConfirm = option_of<choice_value<kConfirmations>>(
    "confirm", "WHERE",
    "local (default): the server is told what is durable here; stored: what the store has, too, so "
    "that the slot keeps the rest on the server");

/// The same for another command line: of what tells which store it is and how it is read, what was
/// given. File names are absolute.
[[nodiscard]] std::vector<std::string> store_words(const Arguments& arguments);

}  // namespace weir::cli
