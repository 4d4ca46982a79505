// libfmt, compiled into the program: `pgweir restore` is started once for every 16 MB of a
// recovery, and each shared library costs each start a tenth of a millisecond. The distribution has
// no static form, but the headers have all of it. With another major version of libfmt, which has
// other templates, nothing is done here, and the shared library is loaded.

#include <fmt/core.h>

#if FMT_VERSION / 10000 == 9

#include <fmt/format-inl.h>

#include <locale>

FMT_BEGIN_NAMESPACE
namespace detail {

template void buffer<char>::append(const char*, const char*);
template locale_ref::locale_ref(const std::locale&);
template std::locale locale_ref::get<std::locale>() const;
template thousands_sep_result<char> thousands_sep_impl(locale_ref);
template char decimal_point_impl(locale_ref);
template dragonbox::decimal_fp<float> dragonbox::to_decimal(float) noexcept;
template dragonbox::decimal_fp<double> dragonbox::to_decimal(double) noexcept;

}  // namespace detail
FMT_END_NAMESPACE

#endif
