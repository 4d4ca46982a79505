#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "store/sealed/age_keys.h"

namespace weir::store {

// The header of age files (age_file.h): the file key, wrapped for each recipient. A holder of that
// key can create another header for the same payload.

inline constexpr std::string_view kAgeIntroduction = "age-encryption.org/v1\n";
inline constexpr std::size_t kAgeFileKeySize = 16;
/// Sufficient for hundreds of recipients.
inline constexpr std::size_t kLargestAgeHeader = 64 * 1024;

/// At least one recipient. Throws Error{usage} for a recipient that nothing can be encrypted to.
[[nodiscard]] std::string age_header(std::span<const std::byte> file_key,
                                     std::span<const AgeRecipient> recipients);

/// Of kind damage, with the file's name.
[[nodiscard]] Error damaged_age_file(const std::string& what, const std::string& name);

struct AgeHeader {
  std::vector<std::byte> file_key{};  ///< to be wiped by the caller
  std::size_t size = 0;               ///< of the header; the payload's nonce follows
};
/// Opens the header of a file that starts with `front`; `name` is for messages. Throws
/// Error{damage} for an invalid header, Error{refused} if none of the identities is a recipient.
[[nodiscard]] AgeHeader open_age_header(std::string_view front,
                                        std::span<const AgeIdentity> identities,
                                        const std::string& name);

}  // namespace weir::store
